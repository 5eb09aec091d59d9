"""Text encoders: BERT and its relatives, and the efficient-attention variants measured against BERT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .entry import ANY_BACKEND, EAGER, ModelEntry, Settings, encoder_cost, refuse_length

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def positions(extra: int = 0) -> Callable[[Settings, float], dict[str, Any]]:
    """Position tables of at least `length + extra` rows (RoBERTa's begin after the padding index)."""

    def fit(settings: Settings, length: float) -> dict[str, Any]:
        return {"max_position_embeddings": max(int(length) + extra, settings.get("max_position_embeddings", 512))}

    return fit


def _longformer_cost(settings: Settings, length: float) -> float:
    """Inputs are padded to whole windows; chunks overlap, so that each token is scored against 1.5 windows."""
    window = int(settings["attention_window"])
    padded = -(-int(length) // window) * window
    return encoder_cost(settings, padded, window * 3 // 2)


def _nystromformer(settings: Settings, length: float) -> dict[str, Any]:
    """Lengths are whole multiples of the landmarks, and more than one: at one it turns into full attention."""
    landmarks = int(settings["num_landmarks"])
    below = int(length) // landmarks
    if length % landmarks or below < 2:
        why = f"its lengths are 2, 3, ... times its {landmarks} landmarks"
        nearest = sorted({max(below, 2) * landmarks, max(below + 1, 2) * landmarks})
        raise refuse_length("nystromformer", length, nearest, why)
    return {**positions(2)(settings, length), "segment_means_seq_len": int(length)}


ENTRIES = (
    ModelEntry(
        name="bert",
        architecture="bert",
        source="Devlin et al. 2019, arXiv:1810.04805",
        attention=ANY_BACKEND,
        base=_BASE,
        tiny=_TINY,
        fit=positions(),
    ),
    ModelEntry(
        name="roberta",
        architecture="roberta",
        source="Liu et al. 2019, arXiv:1907.11692",
        attention=ANY_BACKEND,
        base=_BASE,
        tiny=_TINY,
        fit=positions(2),
    ),
    ModelEntry(
        name="electra",
        architecture="electra",
        source="Clark et al. 2020, arXiv:2003.10555",
        attention=ANY_BACKEND,
        base={**_BASE, "embedding_size": 768},
        tiny={**_TINY, "embedding_size": 64},
        fit=positions(),
    ),
    ModelEntry(
        name="distilbert",
        architecture="distilbert",
        source="Sanh et al. 2019, arXiv:1910.01108",
        attention=ANY_BACKEND,
        base={"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12, "hidden_dim": 3072},
        tiny={"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_dim": 128},
        fit=positions(),
    ),
    ModelEntry(
        name="longformer",
        architecture="longformer",
        source="Beltagy et al. 2020, arXiv:2004.05150",
        attention=EAGER,
        base={**_BASE, "attention_window": 512},
        tiny={**_TINY, "attention_window": 32},
        baseline="bert",
        fit=positions(2),
        cost=_longformer_cost,
        note="window 512; no global attention, the default of transformers; pads inputs to whole windows",
    ),
    ModelEntry(
        name="nystromformer",
        architecture="nystromformer",
        source="Xiong et al. 2021, arXiv:2102.03902",
        attention=EAGER,
        base={**_BASE, "num_landmarks": 64},
        tiny={**_TINY, "num_landmarks": 16, "conv_kernel_size": 5},
        baseline="bert",
        fit=_nystromformer,
        cost=lambda settings, length: encoder_cost(settings, length, 4 * int(settings["num_landmarks"])),
        note="64 landmarks; lengths are multiples of them",
    ),
    ModelEntry(
        name="fnet",
        architecture="fnet",
        source="Lee-Thorp et al. 2021, arXiv:2105.03824",
        attention=EAGER,
        base={key: value for key, value in _BASE.items() if key != "num_attention_heads"},
        tiny={key: value for key, value in _TINY.items() if key != "num_attention_heads"},
        baseline="bert",
        fit=positions(),
        cost=lambda settings, length: encoder_cost(settings, length, 64),
        note="Fourier transforms mix the tokens, in the place of attention",
    ),
)
