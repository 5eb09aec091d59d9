"""One test over the whole registry: built tiny, run at two lengths, annotated, and left as it was."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tracekit.collect import models
from tracekit.components import parse_range
from tracekit.errors import UsageError
from tracekit.points import Identity

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tracekit.collect.annotate import annotate, ranges_of  # noqa: E402
from tracekit.collect.models.build import Built, check_overrides  # noqa: E402

MIXES_WITHOUT_PROJECTIONS = {"fnet"}  # a Fourier transform in the place of attention

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of transformers and torch are not ours to mend


def built(name: str, length: int, **options: Any) -> Built:
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


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("length", [64, 640])  # 640 is more than the default position tables hold
def test_runs_and_is_annotated(name: str, length: int, tmp_path: Path) -> None:
    one = built(name, length)
    with torch.inference_mode():
        before = one.model(**one.inputs)[0]
    assert before.shape[:2] == (2, length)
    assert torch.isfinite(before).all()
    assert one.tokens == length
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in one.model.modules()]
    with annotate(one.model):
        events = recorded(one, tmp_path / "annotated.json")
    found = Counter((r.what, r.part) for e in events if (r := parse_range(str(e.get("name", "")))) is not None)
    assert {"embedding", "attention", "ffn", "model", "layer"} <= {what for what, _ in found}
    if name not in MIXES_WITHOUT_PROJECTIONS:
        assert found["attention", "core"] == 2, "one attention core a layer"
        assert found["attention", "projections"] >= 2
    # and nothing is left behind
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in one.model.modules()] == hooks
    plain = recorded(one, tmp_path / "plain.json")
    assert not [e for e in plain if parse_range(str(e.get("name", "")))]
    with torch.inference_mode():
        assert torch.equal(one.model(**one.inputs)[0], before)


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
