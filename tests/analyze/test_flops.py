"""FLOPs and bytes from recorded shapes: by hand, and against torch's own counter where that one is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.flops import costs
from tracekit.analyze.trace import Trace

torch = pytest.importorskip("torch")


def cost(name: str, shapes: list[Any], dtype: str = "float", values: list[str] | None = None) -> tuple[Any, Any]:
    return costs(name, json.dumps(shapes), json.dumps([dtype] * len(shapes)), json.dumps(values or []))


@pytest.mark.parametrize(
    ("name", "shapes", "flops", "size"),
    [
        ("aten::mm", [[2, 3], [3, 4]], 2 * 2 * 3 * 4, 4 * (6 + 12 + 8)),
        ("aten::addmm", [[4], [2, 3], [3, 4]], 2 * 2 * 3 * 4, 4 * (4 + 6 + 12 + 8)),
        ("aten::bmm", [[5, 2, 3], [5, 3, 4]], 5 * 48, 4 * 5 * (6 + 12 + 8)),
        ("aten::mv", [[2, 3], [3]], 2 * 2 * 3, 4 * (6 + 3 + 2)),
        ("aten::linear", [[7, 2, 3], [4, 3], [4]], 2 * 14 * 12, 4 * (42 + 12 + 4 + 56)),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[1, 2, 8, 4]] * 3, 2 * 2 * (2 * 8 * 8 * 4), 4 * 64 * 4),
        (
            "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
            [[1, 2, 8, 4]] * 5,
            5 * (2 * 2 * 8 * 8 * 4),
            4 * 64 * (5 + 3),
        ),
        ("aten::add", [[2, 3], [3]], None, 4 * (6 + 3 + 6)),
        ("aten::sum", [[2, 3]], None, 4 * 6),
        ("aten::view", [[2, 3]], None, None),
        ("aten::embedding", [[100, 8], [2, 5]], None, 4 * (10 + 2 * 80)),
    ],
)
def test_by_hand(name: str, shapes: list[Any], flops: int | None, size: int | None) -> None:
    assert cost(name, shapes) == (flops, size)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        ("double", 8),
        ("long int", 8),
        ("c10::complex<float>", 8),
        ("float", 4),
        ("int", 4),
        ("c10::Half", 2),
        ("c10::BFloat16", 2),
        ("signed char", 1),
        ("bool", 1),
        ("c10::Float8_e4m3fn", 1),
    ],
)
def test_every_type_has_its_size(dtype: str, size: int) -> None:
    assert cost("aten::mm", [[2, 3], [3, 4]], dtype) == (48, size * (6 + 12 + 8))


def test_convolutions_by_hand() -> None:
    settings = ["", "", "", "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"]
    shapes = [[2, 3, 32, 32], [8, 3, 3, 3]]
    flops = 2 * 2 * 8 * 16 * 16 * 3 * 9
    assert cost("aten::convolution", shapes, values=settings)[0] == flops
    assert cost("aten::mkldnn_convolution", shapes, values=["", "", "", "[1, 1]", "[2, 2]", "[1, 1]", "1"])[0] == flops
    backward = ["", "", "", "[0]", "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1", "[True, True, False]"]
    assert cost("aten::convolution_backward", [[2, 8, 16, 16], *shapes], values=backward)[0] == 2 * flops
    assert cost("aten::index_select", [[6, 100, 8], [], [5]], values=["", "1", ""]) == (None, 4 * (5 + 2 * 6 * 5 * 8))
    assert cost("aten::_fft_c2c", [[4, 64]], "c10::complex<float>", ["", "[1]"]) == (5 * 256 * 6, 2 * 8 * 256)


@given(
    st.sampled_from(["aten::mm", "aten::convolution", "aten::_fft_c2c", "aten::embedding", "aten::add", "aten::bmm"]),
    st.recursive(st.one_of(st.integers(), st.text(), st.none(), st.floats()), lambda s: st.lists(s, max_size=4)),
    st.lists(st.text(max_size=4), max_size=5),
)
def test_a_strangers_shapes_never_raise(name: str, shapes: Any, values: list[str]) -> None:
    found = costs(name, json.dumps(shapes), json.dumps(["float"] * 4), json.dumps(values))
    assert all(one is None or isinstance(one, int) for one in found)
    assert costs(name, "[[1, 2", None, None) == (None, None)


def test_hostile_settings_are_unknown_costs() -> None:
    none_at_all = ["", "", "", "[0, 0]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"]  # a stride of 0
    assert cost("aten::convolution", [[2, 3, 8, 8], [4, 3, 3, 3]], values=none_at_all) == (None, None)
    huge = 10**12
    for bomb in ([[huge, "text"], [2, 2]], [[huge, [1]], [2, 2]], [["text", huge], [2, huge]]):  # would fill the memory
        assert cost("aten::mm", bomb) == (None, None)
    masked = ["", "", "", "[0]", "[1]", "[0]", "[1]", "False", "[0]", "1", '["text", [1], true]']
    assert cost("aten::convolution_backward", [[huge, 8, 9], [huge, 3, 9], [8, 3, 1]], values=masked) == (None, None)
    assert costs("aten::mm", "[" * 10**5 + "]" * 10**5, "[]") == (None, None)


def live(step: Callable[[], object], path: Path) -> Trace:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as prof:
        step()
    prof.export_chrome_trace(str(path))
    return Trace(path)


@pytest.mark.parametrize("training", [False, True])
def test_equals_torchs_counter_on_eager_bert(tmp_path: Path, training: bool) -> None:
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    config = transformers.BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    config._attn_implementation = "eager"
    model = transformers.BertModel(config).train(training)
    tokens = torch.randint(0, 100, (2, 24))

    def step() -> None:
        out = model(tokens).last_hidden_state
        if training:
            out.sum().backward()

    counter = FlopCounterMode(display=False)
    with counter:
        step()
    trace = live(step, tmp_path / "t.json")
    assert trace.operators()["flops"].sum() == counter.get_total_flops()
    assert trace.components()["flops"].sum() == counter.get_total_flops()


def test_a_copy_within_a_product_takes_nothing_from_its_bytes(tmp_path: Path) -> None:
    """addmm copies its bias into its output, a sum fills its output with zeros: both are still what they are."""
    bias, x, weight = torch.randn(48), torch.randn(64, 32), torch.randn(32, 48)

    def step() -> None:
        torch.addmm(bias, x, weight).sum()
        x.t().contiguous()  # a copy of its own

    trace = live(step, tmp_path / "t.json")
    table = {row["name"]: row["bytes"] for row in trace.operators().to_dicts()}
    assert table["aten::addmm"] == 4 * (48 + 64 * 32 + 32 * 48 + 64 * 48)
    assert table["aten::sum"] == 4 * 64 * 48
    copies = [row for row in trace.host.to_dicts() if row["name"] == "aten::copy_" and row["bytes"] is not None]
    assert [row["bytes"] for row in copies] == [4 * 3 * 64 * 32]


def test_convolution_and_attention_are_counted_once(tmp_path: Path) -> None:
    """Nested operators that each have a formula: the innermost counts."""
    x, weight = torch.randn(2, 3, 32, 32), torch.randn(8, 3, 3, 3)
    query = torch.randn(2, 4, 16, 8)

    def step() -> None:
        torch.nn.functional.conv2d(x, weight, padding=1)
        torch.nn.functional.scaled_dot_product_attention(query, query, query)

    trace = live(step, tmp_path / "t.json")
    operators = trace.operators().filter(pl.col("flops") > 0)
    assert operators["flops"].sum() == 2 * 2 * 8 * 32 * 32 * 27 + 2 * 2 * (2 * 4 * 16 * 16 * 8)
    assert operators.height == 2
