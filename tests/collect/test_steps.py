"""Steps: what one forward, training step and decoded token do, and leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracekit.components import parse_range
from tracekit.errors import UsageError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tracekit.collect import plan, steps  # noqa: E402
from tracekit.collect.models.build import Built  # noqa: E402
from tracekit.collect.steps import Decoding, Inference, Training, loss_of, make_step, named, unnamed  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}


def decoder(kind: str, batch: int = 2, length: int = 12, **settings: Any) -> Built:
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[kind](
        **{**SMALL, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | settings
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return Built(model, {"input_ids": torch.randint(5, 100, (batch, length))}, length)


def small(**more: Any) -> Built:
    torch.manual_seed(0)
    return Built(torch.nn.Linear(4, 3), {}, None, (torch.randn(5, 4),), **more)


def test_names_of_options_are_those_of_the_plan() -> None:
    assert set(plan.OPTIMIZERS) == set(steps.OPTIMIZERS)


def test_inference_leaves_no_gradient() -> None:
    built = small()
    Inference(built)(unnamed)
    assert built.model.weight.grad is None


@pytest.mark.parametrize("optimizer", plan.OPTIMIZERS)
def test_training_changes_the_weights_and_keeps_no_gradient(optimizer: str) -> None:
    built = small()
    before = built.model.weight.detach().clone()  # type: ignore[operator]
    step = make_step(built, "training", optimizer)
    step(unnamed)
    assert not torch.equal(before, built.model.weight)
    assert built.model.weight.grad is None
    assert built.model.training
    # AdamW keeps two moments of every parameter, and a count for each tensor
    # Adafactor a row and a column of the matrix, the bias whole, and counts
    assert step.held_bytes == {"adamw": 2 * 15 * 4 + 2 * 4, "sgd": 0, "adafactor": (3 + 4 + 3) * 4 + 2 * 4}[optimizer]


def test_the_phases_of_training_are_in_the_trace(tmp_path: Path) -> None:
    step = Training(small(), "sgd")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(named)
    ranges = [r for e in profile.events() or [] if (r := parse_range(e.name)) is not None]
    assert [r.path for r in ranges if r.what == "phase"] == ["forward", "backward", "optimizer"]
    assert [r.path for r in ranges if r.what == "loss"] == ["fn:mean_square"]


def test_the_loss_is_the_models_own_where_it_has_one() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    assert loss_of({"loss": value, "logits": torch.zeros(2)}) is value
    hidden = torch.full((2, 2), 2.0, requires_grad=True)
    assert loss_of((torch.zeros(3), [hidden])).item() == 4.0
    with pytest.raises(UsageError, match="nothing to train"):
        loss_of({"ids": torch.zeros(2)})
    frozen = small()
    frozen.model.requires_grad_(False)
    with pytest.raises(UsageError, match="no parameter"):
        make_step(frozen, "training", "sgd")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("gpt2", {}),
        ("llama", {"num_key_value_heads": 2, "intermediate_size": 64}),
        ("mistral", {"num_key_value_heads": 2, "intermediate_size": 64, "sliding_window": 5}),
    ],
)
def test_each_decoded_token_sees_the_whole_input_and_no_more(kind: str, settings: dict[str, Any]) -> None:
    built = decoder(kind, **settings)
    step = Decoding(built)
    seen: list[Any] = []
    spied = Built(built.model, built.inputs, built.tokens, compiled=lambda **k: seen.append(built.model(**k)))
    step.built = spied
    for _ in range(3):
        step(unnamed)
    ids = built.inputs["input_ids"]
    with torch.inference_mode():
        full = built.model(input_ids=torch.cat([ids, ids[:, -1:]], dim=1), use_cache=False).logits[:, -1:]
    for output in seen:  # the third as the first: the cache holds the input's tokens and nothing else
        torch.testing.assert_close(output.logits, full, rtol=1e-4, atol=1e-5)
    assert step.held_bytes > 0


def test_a_recurrent_state_has_no_length() -> None:
    step = Decoding(decoder("mamba", state_size=4, intermediate_size=64, time_step_rank=4))
    held = step.held_bytes
    step(unnamed)
    assert step.held_bytes == held > 0


def test_a_model_without_a_cache_cannot_decode() -> None:
    config = transformers.BertConfig(**SMALL, intermediate_size=64)
    built = Built(transformers.BertModel(config), {"input_ids": torch.randint(5, 100, (1, 8))}, 8)
    with pytest.raises(UsageError, match="keeps no cache"):
        make_step(built, "decode", "")


def test_another_batch_is_made_anew_or_refused() -> None:
    with pytest.raises(UsageError, match="one batch alone"):
        small().of_batch(4)
    made = small(remake=lambda batch: ((torch.ones(batch, 4),), {})).of_batch(7)
    assert made().shape == (7, 3)


def test_an_encoder_decoder_cannot_decode() -> None:
    config = transformers.T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=50)
    ids = torch.randint(5, 50, (1, 8))
    built = Built(transformers.T5Model(config), {"input_ids": ids, "decoder_input_ids": ids}, 8)
    with pytest.raises(UsageError, match="has an encoder too"):
        make_step(built, "decode", "")
    with pytest.raises(UsageError, match="input_ids and use_cache"):
        make_step(small(), "decode", "")
