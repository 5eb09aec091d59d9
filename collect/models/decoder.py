"""Decoders, as causal language models: vanilla, with a sliding window, and recurrent."""

from __future__ import annotations

from typing import Any

from .costs import by_names, gated, seeing
from .entry import ANY_BACKEND, EAGER, MODES, WITHOUT_FLEX, ModelEntry, at_least

# All four of one size, of one vocabulary and with grouped queries, so that what differs is the architecture: none is
# published so small.
_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 2048,
    "vocab_size": 32_000,
    "tie_word_embeddings": True,
}
_TINY: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 1000,
}
_SIZE = "about 100M parameters, not a published size: 12 layers of 768, 12 heads over 4 of keys and values"
# The step after the input, of which decoding measures one, has a position too.
_POSITIONS = at_least("max_position_embeddings", 8192, 1)


def _llama_like(name: str, source: str, note: str = "", **options: Any) -> ModelEntry:
    chosen = {"architecture": name, "base": _BASE, "tiny": _TINY, "fit": _POSITIONS, "cost": gated, **options}
    return ModelEntry(
        name=name,
        source=source,
        family="decoder",
        modes=MODES,
        model_class="AutoModelForCausalLM",
        attention=ANY_BACKEND,
        local=True,
        note=f"{_SIZE}; {note}" if note else _SIZE,
        **chosen,
    )


ENTRIES = (
    ModelEntry(
        name="gpt2",
        architecture="gpt2",
        source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
        family="decoder",
        attention=WITHOUT_FLEX,
        local=True,
        base={"n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": 3072},
        tiny={"n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 128, "vocab_size": 1000},
        modes=MODES,
        fit=at_least("n_positions", 1024, 1),
        cost=by_names("n_embd", "n_inner", "n_layer"),
        model_class="AutoModelForCausalLM",
    ),
    _llama_like("llama", "Grattafiori et al. 2024, arXiv:2407.21783"),
    _llama_like("qwen3", "Yang et al. 2025, arXiv:2505.09388", "queries and keys are normalized"),
    _llama_like(
        "mistral",
        "Jiang et al. 2023, arXiv:2310.06825",
        "a window of 4,096, as in 7B: shorter inputs are all within it",
        base={**_BASE, "sliding_window": 4096},
        tiny={**_TINY, "sliding_window": 32},
        baseline="llama",
        windowed=True,
    ),
    _llama_like(
        "gemma3",
        "Gemma Team 2025, arXiv:2503.19786",
        "a window of 512, as in 1B, in five of six layers",
        architecture="gemma3_text",
        base={**_BASE, "sliding_window": 512},
        tiny={**_TINY, "sliding_window": 32},
        baseline="llama",
        windowed=True,
    ),
    ModelEntry(
        name="mamba",
        architecture="mamba",
        source="Gu and Dao 2023, arXiv:2312.00752",
        family="decoder",
        attention=EAGER,
        base={"hidden_size": 768, "num_hidden_layers": 24, "state_size": 16, "expand": 2},
        tiny={"hidden_size": 64, "num_hidden_layers": 2, "time_step_rank": 4, "vocab_size": 1000},
        baseline="llama",
        reference=True,
        modes=MODES,
        # three projections to and from twice the width, and the scan
        cost=lambda settings, length: (
            float(settings["num_hidden_layers"] * length * settings["hidden_size"])
            * (12 * settings["hidden_size"] + 18 * settings["state_size"])
        ),
        model_class="AutoModelForCausalLM",
        note="130M; a selective state space in the place of attention and feed-forward",
    ),
    ModelEntry(
        name="rwkv",
        architecture="rwkv",
        source="Peng et al. 2023, arXiv:2305.13048",
        family="decoder",
        attention=EAGER,
        base={"hidden_size": 768, "num_hidden_layers": 12, "attention_hidden_size": 768, "intermediate_size": 3072},
        tiny={
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "attention_hidden_size": 64,
            "intermediate_size": 128,
            "vocab_size": 1000,
        },
        baseline="llama",
        reference=True,
        modes=MODES,
        fit=at_least("context_length", 1024, 1),
        cost=seeing(lambda _settings: 1),
        model_class="AutoModelForCausalLM",
        note="169M, version 4; a linear recurrence in the place of attention",
    ),
)
