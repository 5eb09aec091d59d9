"""One test over the whole registry: built tiny, run at two lengths, annotated, and left as it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.load import load_study
from tracekit.collect import models
from tracekit.collect.models.entry import EAGER
from tracekit.components import parse_range
from tracekit.errors import UsageError
from tracekit.points import Identity

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tracekit.collect.annotate import annotate, ranges_of  # noqa: E402
from tracekit.collect.attention import backend_calls  # noqa: E402
from tracekit.collect.models.build import Built, check_overrides  # noqa: E402
from tracekit.collect.steps import loss_of, make_step, unnamed  # noqa: E402

LENGTHS = {"tokens": (64, 640), "seconds": (0.5, 11), "pixels": (64, 256)}  # the second passes every default table
# What some models have not, and why.
WITHOUT = {
    ("fnet", "attention.core"): "a Fourier transform in the place of attention",
    ("fnet", "attention.projections"): "the same",
    ("whisper", "embedding"): "two convolutions",
    ("squeezebert", "layer"): "its encoder calls the forward of its layers, past every hook",
    ("mamba", "ffn"): "one mixer in the place of attention and feed-forward",
}
CAUSAL = [name for name in models.names() if "decode" in models.get(name).modes]

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of transformers and torch are not ours to mend


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are too small for more, and waiting for each other costs most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def built(name: str, length: float, **options: Any) -> Built:
    entry = models.get(name)
    given = {"attention": entry.attention[0], "preset": "tiny", "batch": 2, **options}
    identity = Identity(model=name, architecture=name, length=length, **given)
    made: Built = entry.build()(entry, identity, 0)
    return made


def recorded(one: Built, path: Path) -> list[dict[str, Any]]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, torch.inference_mode():
        one.model(**one.inputs)
    profile.export_chrome_trace(str(path))
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return events


def first_output(one: Built, seed: int = 0) -> Any:
    """Of one forward; seeded, because Reformer and YOSO hash at random."""
    torch.manual_seed(seed)
    with torch.inference_mode():
        return one.model(**one.inputs)[0]


def positions(one: Built) -> int:
    """Of the first hidden state: (batch, positions, width), or (batch, width, height, width)."""
    with torch.inference_mode():
        hidden = one.model(**one.inputs, output_hidden_states=True).hidden_states[0]
    return int(hidden.shape[1] if hidden.ndim == 3 else hidden.shape[2] * hidden.shape[3])


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("which", [0, 1])
def test_runs_and_is_annotated(name: str, which: int, tmp_path: Path) -> None:
    entry = models.get(name)
    one = built(name, LENGTHS[entry.length_unit][which])
    before = first_output(one)
    assert before.shape[0] == 2
    assert torch.isfinite(before).all()
    assert one.tokens == positions(one)
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in one.model.modules()]
    own = [set(vars(module)) for module in one.model.modules()]
    with annotate(one.model):
        events = recorded(one, tmp_path / "annotated.json")
    ranges = [r for event in events if (r := parse_range(str(event.get("name", "")))) is not None]
    found = Counter(f"{r.what}.{r.part}".rstrip(".") for r in ranges)
    found["embedding"] += found["feature_extractor"]
    expected = {"embedding", "attention.core", "attention.projections", "ffn", "model", "layer"}
    assert {what for what in expected if not found[what]} == {what for of, what in WITHOUT if of == name}
    assert "attention" in {r.what for r in ranges}
    if name != "fnet":
        assert found["attention.core"] >= 2, "one attention core a layer"
    # and nothing is left behind
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in one.model.modules()] == hooks
    assert [set(vars(module)) for module in one.model.modules()] == own
    if not which:
        plain = recorded(one, tmp_path / "plain.json")
        assert not [e for e in plain if parse_range(str(e.get("name", "")))]
    assert torch.equal(first_output(one), before)


@pytest.mark.parametrize("name", models.names())
def test_trains(name: str) -> None:
    entry = models.get(name)
    # BEiT keeps tensors of every size it has seen, for the process: those of inference mode do not train
    one = built(name, 96 if entry.length_unit == "pixels" else LENGTHS[entry.length_unit][0])
    one.model.train()
    loss_of(one(**({"labels": one.inputs["input_ids"]} if name in CAUSAL else {}))).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in one.model.parameters() if p.grad is not None]
    assert len(gradients) > 10
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert "training" in entry.modes


@pytest.mark.parametrize("name", CAUSAL)
def test_decodes(name: str) -> None:
    """Also after as many tokens as its tables held, for the next one has a position as well."""
    step = make_step(built(name, 1024), "decode", "adamw")
    step(unnamed)
    step(unnamed)
    assert step.held_bytes > 0


@pytest.mark.parametrize("name", [name for name in models.names() if len(models.get(name).attention) > 1])
def test_eager_and_sdpa_agree_and_are_the_ones_that_run(name: str) -> None:
    entry = models.get(name)
    outputs = []
    for attention in ("eager", "sdpa"):
        assert attention in entry.attention
        one = built(name, LENGTHS[entry.length_unit][0], attention=attention)
        with backend_calls(one.model) as calls:
            outputs.append(first_output(one))
        assert set(calls) == {attention}
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in models.names() if models.get(name).attention != EAGER])
def test_local_attention_is_offered_where_it_is_right(name: str) -> None:
    """A window wider than the input is full attention; elsewhere it refuses."""
    entry = models.get(name)
    length = LENGTHS[entry.length_unit][0]
    overrides = {"sliding_window": 10_000} if entry.windowed and entry.family == "decoder" else {}
    overrides |= {"local_attention": 20_000} if name == "modernbert" else {}
    local = built(name, length, attention="local:10000", overrides=overrides)
    if not entry.local:
        with pytest.raises(UsageError):
            first_output(local)
        return
    full = built(name, length, attention="sdpa", overrides=overrides)
    torch.testing.assert_close(first_output(local), first_output(full), atol=1e-4, rtol=1e-4)


def test_what_is_measured_against_what() -> None:
    entries = [models.get(name) for name in models.names()]
    for entry in entries:
        baseline = models.get(entry.baseline) if entry.baseline else None
        if baseline is not None:
            assert baseline.baseline is None
            assert baseline.length_unit == entry.length_unit
        assert entry.has_attention(entry.attention[0])
        assert (entry.flops("base", entry.ladder[3], {}) or 0) > 1e9
    assert len({entry.name for entry in entries}) == len(entries)


@pytest.mark.parametrize(
    ("name", "length", "nearest"),
    [
        ("nystromformer", 500, "448 or 512"),
        ("nystromformer", 64, "128"),
        ("reformer", 100, "128"),
        ("reformer", 300, "256 or 320"),
        ("funnel", 4, "5"),
        ("canine", 3, "4"),
        ("hiera", 250, "224 or 256"),
        ("vit", 8, "16"),
        ("hubert", 0.02, "0.025"),
        ("sew", 0.04, "0.045"),
        ("whisper", 0.25, "0.24 or 0.26"),
        ("whisper", 0.001, "0.02"),
        ("audio-spectrogram-transformer", 0.1, "0.16"),
    ],
)
def test_lengths_that_cannot_be_name_the_nearest_that_can(name: str, length: float, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"the nearest it can: {nearest}$"):
        models.get(name).settings("base", length, {})
    for one in map(float, nearest.split(" or ")):
        assert models.get(name).tokens(models.get(name).settings("base", one, {}), one) >= 1


def test_mra_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="zeros"):
        models.get("mra")


def test_big_bird_is_sparse_beyond_the_length_of_its_note() -> None:
    entry = models.get("big_bird")
    assert "704" in entry.note
    for length, kind in ((112, "BigBirdSelfAttention"), (128, "BigBirdBlockSparseAttention")):  # (5 + 2 * 1) * 16
        one = built("big_bird", length)
        first_output(one)
        assert type(one.model.encoder.layer[0].attention.self).__name__ == kind  # type: ignore[union-attr,index]


@pytest.mark.parametrize(
    ("name", "length", "tokens", "table"),
    [
        ("big_bird", 1000, 1008, "max_position_embeddings"),
        ("big_bird", 100, 100, "max_position_embeddings"),
        ("longformer", 100, 100, "max_position_embeddings"),
        ("led", 100, 100, "max_encoder_position_embeddings"),
    ],
)
def test_what_pads_itself_has_room_for_it(name: str, length: int, tokens: int, table: str) -> None:
    one = built(name, length, batch=1, overrides={table: 16})
    assert first_output(one).shape[1] == length
    assert one.tokens == tokens


@pytest.mark.parametrize(
    ("name", "length", "overrides", "most_other"),
    [
        ("bert", 256, {"num_hidden_layers": 2}, 0.15),
        ("longformer", 512, {"num_hidden_layers": 2}, 0.15),
        ("nystromformer", 256, {"num_hidden_layers": 2}, 0.15),
        ("hubert", 2, {"num_hidden_layers": 2}, 0.15),
        ("l-hubert", 2, {"num_hidden_layers": 2}, 0.15),
        ("vit", 224, {"num_hidden_layers": 2}, 0.15),
        ("swin", 224, {"depths": [1, 1, 1, 1]}, 0.3),
    ],
)
def test_next_to_nothing_is_unattributed(
    name: str, length: float, overrides: dict[str, Any], most_other: float, tmp_path: Path
) -> None:
    """At the published width; `other` is what a layer or the model does by itself, such as adding residuals."""
    one = built(name, length, preset="base", batch=1, overrides=overrides)
    first_output(one)
    other = []
    for number in range(3):  # the least of them: others may be at work on this machine
        with annotate(one.model):
            recorded(one, tmp_path / f"{number}.json")
        table = load_study([tmp_path / f"{number}.json"]).components()
        times = dict(table.group_by("component").agg(pl.col("host_ns").sum()).iter_rows())
        assert times.get("unattributed", 0) <= 0.1 * sum(times.values())
        other.append(times["other"] / sum(times.values()))
    assert min(other) <= most_other


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_asked_for_is_the_one_that_runs(attention: str, tmp_path: Path) -> None:
    one = built("bert", 32, attention=attention)
    with annotate(one.model):
        names = {event.get("name") for event in recorded(one, tmp_path / "t.json")}
    assert f"tracekit::attention.core#fn:{attention}" in names
    assert ("aten::scaled_dot_product_attention" in names) == (attention == "sdpa")


def test_annotation_is_taken_off_after_an_error() -> None:
    one = built("bert", 16)

    class PlantedError(Exception):
        pass

    def fail(*_: Any) -> None:
        raise PlantedError

    handle = one.model.encoder.layer[1].register_forward_pre_hook(fail)  # type: ignore[union-attr,index]
    before = sum(len(m._forward_pre_hooks) for m in one.model.modules())
    with pytest.raises(PlantedError), annotate(one.model):
        one.model(**one.inputs)
    assert sum(len(m._forward_pre_hooks) for m in one.model.modules()) == before
    handle.remove()


def test_layers_only_and_none(tmp_path: Path) -> None:
    one = built("bert", 16)
    assert {r.what for r in ranges_of(one.model, components=False).values()} == {"model", "layer"}
    with annotate(one.model, "none"):
        events = recorded(one, tmp_path / "none.json")
    assert not [e for e in events if parse_range(str(e.get("name", "")))]


def test_bert_is_judged_as_a_person_would() -> None:
    ranges = {r.path: (r.what, r.part) for r in ranges_of(built("bert", 16).model).values()}
    layer = "encoder.layer.0"
    assert ranges["embeddings"] == ("embedding", "")
    assert ranges[layer] == ("layer", "")
    assert ranges[f"{layer}.attention"] == ("attention", "")
    assert ranges[f"{layer}.attention.self.query"] == ("attention", "projections")
    assert ranges[f"{layer}.attention.output.dense"] == ("attention", "projections")
    assert ranges[f"{layer}.intermediate"] == ("ffn", "")
    assert ranges[f"{layer}.output"] == ("ffn", "")
    assert ranges["pooler"] == ("head", "")
    assert f"{layer}.output.dense" not in ranges


def test_overrides_reach_the_config_and_are_checked() -> None:
    assert built("bert", 16, overrides={"num_hidden_layers": 1}).model.config.num_hidden_layers == 1  # type: ignore[union-attr]
    bert = models.get("bert")
    with pytest.raises(UsageError, match="num_hidden_layers"):
        check_overrides(bert, {"num_hiden_layers": 1})
    with pytest.raises(UsageError, match="number"):
        check_overrides(bert, {"layer_norm_eps": "small"})
    check_overrides(bert, {"layer_norm_eps": 1e-6, "hidden_act": "relu"})


def test_dtype_and_seed() -> None:
    half = built("bert", 16, dtype="bfloat16").model
    assert next(half.parameters()).dtype == torch.bfloat16
    a, b = built("bert", 16), built("bert", 16)
    assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))
    assert torch.equal(a.inputs["input_ids"], b.inputs["input_ids"])
