"""Training steps of real models, profiled here: whose cost is the backward?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tracekit
from tracekit.analyze.trace import Trace

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def bert(layers: int = 2, hidden: int = 768) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=hidden // 64, intermediate_size=4 * hidden
    )
    return transformers.BertForSequenceClassification(config).train()


def profiled(path: Path, step: Callable[[], object], steps: int = 2, **options: Any) -> Trace:
    """Profile `steps` steps after one that warms up; the trace as exported."""
    schedule = torch.profiler.schedule(wait=0, warmup=1, active=steps, repeat=1)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        schedule=schedule,
        on_trace_ready=lambda prof: prof.export_chrome_trace(str(path)),
        record_shapes=True,
        **options,
    ) as prof:
        for _ in range(1 + steps):
            step()
            prof.step()
    return Trace(path)


def training_step(model: Any, length: int = 64) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.randint(0, 1000, (2, length))
    labels = torch.tensor([0, 1])

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()

    return step


def attributed_share(backward: pl.DataFrame) -> float:
    known = backward.filter(pl.col("component") != "unattributed")
    return int(known["self_ns"].sum()) / int(backward["self_ns"].sum())


def of_node(trace: Trace, node: str) -> dict[str, int]:
    """Component -> calls of one type of backward node."""
    rows = trace.host.filter(pl.col("name") == f"autograd::engine::evaluate_function: {node}")
    return {str(name): count for name, count in rows.group_by("component").len().iter_rows()}


@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": False}, {"use_reentrant": True}])
def test_backward_of_bert_is_charged_to_its_modules(tmp_path: Path, checkpointing: dict[str, bool] | None) -> None:
    model = bert()
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable(checkpointing)
        model.enable_input_require_grads()
    with tracekit.annotate(model):
        trace = profiled(tmp_path / "t.json", training_step(model))
    host = trace.host
    backward = host.filter(pl.col("phase") == "backward")
    assert attributed_share(backward) >= 0.99
    # Every node of two layers and two steps, where its module is: three projections and an output in attention, two
    # linear layers in ffn; a norm in each; GELU in ffn; the pooler's tanh and the classifier's linear in the head.
    linear = of_node(trace, "AddmmBackward0")
    assert linear == {"attention": 4 * 2 * 2, "ffn": 2 * 2 * 2, "head": 2 * 2}
    assert of_node(trace, "NativeLayerNormBackward0") == {"embedding": 2, "attention": 4, "ffn": 4}
    assert of_node(trace, "GeluBackward0") == {"ffn": 4}
    assert of_node(trace, "TanhBackward0") == {"head": 2}
    assert of_node(trace, "NllLossBackward0") == {"loss": 2}
    assert of_node(trace, "EmbeddingBackward0") == {"embedding": 2 * 2, "positional": 2}
    accumulated = of_node(trace, "torch::autograd::AccumulateGrad")
    # Reentrant checkpoints accumulate the gradients of their inputs as well.
    assert sum(accumulated.values()) >= 2 * len(list(model.parameters()))
    assert "unattributed" not in accumulated
    layers = backward.filter(pl.col("component") == "ffn").group_by("layer").agg(pl.col("self_ns").sum())
    assert sorted(layers["layer"]) == ["bert.encoder.layer.0", "bert.encoder.layer.1"]
    recomputed = host.filter((pl.col("phase") == "recompute") & (pl.col("kind") == "operator"))
    assert bool(recomputed.height) is bool(checkpointing)
    if checkpointing:
        assert set(recomputed["component"]) <= {"attention", "ffn", "other"}
        assert set(recomputed["layer"]) == {"bert.encoder.layer.0", "bert.encoder.layer.1"}
        again = recomputed.filter(pl.col("name") == "aten::gelu")
        assert (
            again.height == host.filter((pl.col("name") == "aten::gelu") & (pl.col("phase") == "forward")).height == 4
        )
    assert {"forward", "backward", "optimizer"} <= set(host["phase"])
    optimizer = trace.components().filter(pl.col("phase") == "optimizer")
    assert set(optimizer["component"]) == {"optimizer"}
    inside = trace.components().filter(pl.col("phase") != "outside")
    assert inside["host_ns"].sum() == trace.steps()["dur_ns"].sum()


def test_module_frames_carry_backward_too(tmp_path: Path) -> None:
    """A stranger's trace with stacks: `nn.Module:` frames instead of our ranges."""
    trace = profiled(tmp_path / "t.json", training_step(bert(hidden=64)), with_stack=True)
    assert trace.range_source == "modules"
    # A frame names a class, not a module: the classifier is a Linear like any other.
    assert of_node(trace, "AddmmBackward0") == {"attention": 16, "ffn": 8, "head": 2, "other": 2}
    backward = trace.host.filter(pl.col("phase") == "backward")
    assert attributed_share(backward) >= 0.99


def test_a_loop_without_ranges_still_has_phases(tmp_path: Path) -> None:
    trace = profiled(tmp_path / "t.json", training_step(bert(hidden=64)))
    assert trace.range_source == ""
    operators = trace.operators(by=["phase"])
    linear = operators.row(by_predicate=(pl.col("name") == "aten::addmm") & (pl.col("phase") == "forward"), named=True)
    nodes = trace.host.filter(pl.col("name").cast(pl.String).str.ends_with("evaluate_function: AddmmBackward0"))
    assert linear["backward_ns"] >= nodes["dur_ns"].sum()  # and the accumulation of its bias' gradient
    backward = operators.filter(pl.col("phase") == "backward")["self_ns"].sum()
    assert operators["backward_ns"].sum() == backward
    unknown = trace.components().filter(pl.col("component") == "unattributed")
    assert set(unknown["part"]) == {"no_modules"}


def test_annotate_leaves_no_trace_of_itself(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    with tracekit.annotate(model):
        assert model[1]._forward_hooks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(tracekit.TracekitError, match="detail"), tracekit.annotate(model, "everything"):
        pass
