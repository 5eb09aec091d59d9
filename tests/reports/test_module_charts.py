"""Heat map and icicle: their numbers are those of `study.modules()`, their sums are true, and names in them do nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from tests.hostile import NAMES, UNSEEN
from tracekit.analyze.load import load_study
from tracekit.analyze.modules import MODULES
from tracekit.analyze.study import Study
from tracekit.reports import chosen, heat, icicle
from tracekit.reports.figure import Figure, Section
from tracekit.safety import sanitize

Store = Callable[..., Path]
HOSTILE = [*NAMES[:-1], "constructor", "'+alert(1)+'", "a.b"]


class Made:
    """A study of made modules: a tree of `layers` layers per curve, each of an attention with a core and an ffn."""

    def __init__(self, names: list[str], lengths: list[float | None], layers: int, wide: int = 1) -> None:
        rows: list[dict[str, Any]] = []
        for name in names:
            for length in lengths:
                rows += self._tree(name, length, layers, wide)
        schema: dict[str, Any] = {"series": pl.String, "length": pl.Float64, "length_unit": pl.String, **MODULES}
        self.table = pl.DataFrame(rows, schema=schema, orient="row")

    def modules(self) -> pl.DataFrame:
        return self.table

    @staticmethod
    def _tree(name: str, length: float | None, layers: int, wide: int) -> Iterator[dict[str, Any]]:
        scale = length or 100
        below = [("attn", "attention", "", 3.0), ("attn", "attention", "core", 4.0)]
        below += [(f"mlp{i}", "ffn", "", 5.0 / wide) for i in range(wide)]
        base = {"series": name, "length": length, "length_unit": length and "tokens", "steps": 3, "calls": 1.0}
        costs = [cost * scale * (1 + i) for i in range(layers) for *_, cost in below]
        common = {"forward_ns": 0.0, "backward_ns": 0.0, "self_device_ns": 0.0, "device_ns": 0.0}

        def row(**values: Any) -> dict[str, Any]:
            return {**base, **common, "layer": "", "part": "", **values}

        total = scale + sum(costs)
        yield row(node=0, depth=0, path="", name="model", component="other", self_ns=scale, total_ns=total)
        node = 1
        for i in range(layers):
            path, mother, own = f"{name}.layer.{i}", node, costs[i * len(below) : (i + 1) * len(below)]
            at = {"layer": path, "component": "other", "self_ns": 0.0, "total_ns": sum(own)}
            yield row(node=node, parent=0, depth=1, path=path, name=path, **at)
            for (word, component, part, _), cost in zip(below, own, strict=True):
                node += 1
                yield row(
                    node=node, parent=mother, depth=2, path="fn:x" if part else f"{path}.{word}", name=part or word,
                    layer=path, component=component, part=part, self_ns=cost, total_ns=cost,
                )  # fmt: skip
            node += 1
        outside = {"path": None, "name": "outside every module", "component": "unattributed"}
        yield row(node=node, depth=0, self_ns=scale, total_ns=scale, **outside)


def figure(section: Section | None) -> Figure:
    assert section is not None
    (one,) = section.figures
    assert one.spec is not None
    assert all(len(row) == len(one.head) for row in one.body)
    return one


def of(made: Made, module: Any) -> Figure:
    return figure(module.section(cast(Study, made)))


def embedded(one: Figure) -> list[dict[str, Any]]:
    assert one.spec is not None
    (rows,) = one.spec["datasets"].values()
    return list(rows)


def params(one: Figure) -> dict[str, Any]:
    assert one.spec is not None
    return {param["name"]: param.get("value", param.get("expr")) for param in one.spec["params"]}


def test_cells_of_the_heat_map_are_the_frame() -> None:
    made = Made(["bert", "vit"], [1e6, 2e6], 12)
    rows = embedded(of(made, heat))
    assert [row["series"] for row in rows] == ["bert", "vit"]
    got = {
        (row["series"], pick, layer, component): cost
        for row in rows
        for pick, layers in zip(row["picks"], row["costs"], strict=True)
        for layer, cells in zip(row["layers"], layers, strict=True)
        for component, cost in zip(row["columns"], cells, strict=True)
        if cost is not None
    }
    frame = made.modules().with_columns(pl.col("layer").replace("", heat.OUTSIDE))
    truth = frame.group_by("series", "length", "layer", "component").agg(ns=pl.col("self_ns").sum())
    told = {(s, f"{n:,.0f}", layer, c): ns / 1e6 for s, n, layer, c, ns in truth.iter_rows() if ns}
    assert got == pytest.approx(told, rel=1e-3)
    assert rows[0]["labels"] == [*map(str, range(12)), heat.OUTSIDE]  # in order, not as text
    assert rows[0]["columns"] == ["attention", "ffn", "other", "unattributed"]


def test_the_table_of_layers_has_totals_and_the_note_the_spread() -> None:
    one = of(Made(["bert"], [1e6, 2e6], 3), heat)
    assert one.head == ["curve", "layer", "attention", "ffn", "other", "unattributed", "all"]
    assert one.body[0] == ["bert at 2,000,000 tokens", "bert.layer.0", "14.0 ms", "10.0 ms", "", "", "24.0 ms"]
    assert one.body[-1][1:] == [heat.OUTSIDE, "", "", "2.00 ms", "2.00 ms", "4.00 ms"]
    assert "3.00 in bert" in one.note


def test_many_layers_are_not_a_chart_without_end() -> None:
    (row,) = embedded(of(Made(["bert"], [1e6], heat.LAYERS + 20), heat))
    assert len(row["layers"]) == heat.LAYERS + 2
    assert row["layers"][-2:] == [heat.MORE, heat.OUTSIDE]
    total = sum(cost for cells in row["costs"][0] for cost in cells if cost)
    assert total == pytest.approx(row["steps"][0], rel=1e-3)


def test_a_layer_may_be_called_as_what_is_none() -> None:
    made = Made(["bert"], [1e6], 3)
    made.table = made.table.with_columns(pl.col("layer").replace("bert.layer.1", heat.OUTSIDE))
    assert [row[1] for row in of(made, heat).body] == ["bert.layer.0", heat.OUTSIDE, "bert.layer.2"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["encoder.layer.0", "encoder.layer.1"], ["0", "1"]),
        (["e.layers.0.blocks.0", "e.layers.0.blocks.1", "e.layers.1.blocks.0"], ["0.0", "0.1", "1.0"]),
        (["encoder.block.0", "decoder.block.0"], ["encoder", "decoder"]),
        (["BertLayer_0", "BertLayer_11"], ["0", "11"]),
        (["x.1", "x_1"], ["x.1", "x_1"]),
        (["encoder.layer.0"], ["encoder.layer.0"]),
        (["a", "b.c"], ["a", "b.c"]),
    ],
)
def test_layers_are_called_by_what_tells_them_apart(layers: list[str], expected: list[str]) -> None:
    assert heat.short(layers) == expected


def nodes(row: dict[str, Any], pick: int) -> list[tuple[int, float, float, str]]:
    spans = ((depth, start[pick], end[pick], name) for depth, start, end, name in zip(
        row["depths"], row["from"], row["to"], row["places"], strict=True))  # fmt: skip
    return [one for one in spans if one[2] > one[1]]


def test_nodes_of_the_icicle_are_the_frame_and_lie_in_their_parents() -> None:
    made = Made(["bert", "vit"], [1e6, 2e6], 3)
    for row in embedded(of(made, icicle)):
        for pick, length in enumerate((1e6, 2e6)):
            frame = made.modules().filter((pl.col("series") == row["series"]) & (pl.col("length") == length))
            step = float(frame["self_ns"].sum()) / 1e6
            found = nodes(row, pick)
            assert found[0][:2] + found[0][3:] == (0, 0, "one step")
            assert found[0][2] == pytest.approx(step)
            named = frame.filter(pl.col("name") != "core").select("path", "name", "total_ns").iter_rows()
            truth = {path or name: total / 1e6 for path, name, total in named}
            spans = {place: end - start for _, start, end, place in found[1:] if " > " not in place}
            assert spans == pytest.approx(truth, rel=1e-3)
            for depth, start, end, _ in found[1:]:
                above = [one for one in found if one[0] == depth - 1 and one[1] <= start and end <= one[2] + 1e-3]
                assert len(above) == 1
            for one, other in zip(sorted(found), sorted(found)[1:], strict=False):
                assert one[0] != other[0] or one[2] <= other[1] + 1e-3  # neighbours do not overlap


def test_functions_stand_beneath_the_layer_that_called_them() -> None:
    (row,) = embedded(of(Made(["bert"], [1e6], 2), icicle))
    assert [place for place in row["places"] if "fn:" in place] == ["bert.layer.0 > fn:x", "bert.layer.1 > fn:x"]


def test_what_is_small_is_summed_and_sums_stay_true() -> None:
    (tree,) = [icicle._tree(curve) for curve in chosen.curves(chosen.costs(Made(["b"], [1e6, 2e6], 9).table))]
    for share in (0.001, 0.03, 0.1, 0.5):
        cut = icicle.pruned(tree, share)
        assert cut.own.sum(axis=0) == pytest.approx(tree.total[0])
        assert (cut.own > -1e-3).all()
        kept = [i for i, name in enumerate(cut.names) if name != icicle.REST]
        assert all((cut.total[i] / cut.total[0]).max() >= share for i in kept)
        assert len({parent for parent, name in zip(cut.parent, cut.names, strict=True) if name == icicle.REST}) == len(
            cut.names
        ) - len(kept)
    assert icicle.REST in icicle.pruned(tree, 0.1).names


def test_the_table_of_modules_sums_to_the_step() -> None:
    one = of(Made(["bert"], [1e6], 24), icicle)
    assert len(one.body) == icicle.ROWS + 1
    assert one.body[-1][1] == f"{24 * 3 + 2 - icicle.ROWS} more"
    assert sum(float(row[-1].rstrip("%")) for row in one.body) == pytest.approx(100, abs=2)


def test_a_large_study_is_small_on_the_page_and_says_what_it_leaves_out() -> None:
    made = Made([f"model{i}" for i in range(7)], [float(64 << i) for i in range(8)], 24, wide=20)
    big = of(made, icicle)
    assert len(json.dumps(big.spec)) < 400_000
    assert len(json.dumps(of(made, heat).spec)) < 400_000
    assert "less than 0.1% of a step" not in big.note
    assert "of a step is summed as rest" in big.note


@pytest.mark.parametrize("module", [heat, icicle])
def test_hostile_names_are_values_and_nothing_else(module: Any) -> None:
    def bones(one: Figure) -> str:
        """The specification without data, and parameters without values."""
        assert one.spec is not None
        spec = {key: value for key, value in one.spec.items() if key not in ("datasets", "data")}
        spec["params"] = [{k: v for k, v in param.items() if k != "value"} for param in spec["params"]]
        return json.dumps(spec)

    hostile, plain = (
        of(Made(HOSTILE, [1e6], 2), module),
        of(Made([f"m{i}" for i in range(len(HOSTILE))], [1e6], 2), module),
    )
    assert bones(hostile) == bones(plain)
    assert {row["series"] for row in embedded(hostile)} == {sanitize(name) for name in HOSTILE}
    assert not UNSEEN.search(json.dumps(hostile.spec, ensure_ascii=False) + "".join(map("".join, hostile.body)))


@pytest.mark.parametrize("module", [heat, icicle])
def test_charts_follow_what_the_page_chooses(module: Any) -> None:
    one = params(of(Made(["bert", "vit"], [1e6, 2e6], 2), module))
    assert (one["chosen_series"], one["chosen_length"]) == ("", "")
    assert (one["first_series"], one["first_length"]) == ("bert", "2,000,000")
    assert one["known"] == ["bert", "vit"]
    foreign = params(of(Made(["x.json"], [None], 2), module))
    assert foreign["first_length"] == foreign["whole_trace"]


def test_there_is_no_section_of_nothing(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 5.0)  # its trace has two components, and no layer
    study = load_study([tmp_path])
    assert heat.section(study) is None
    assert [row[1:3] for row in figure(icicle.section(study)).body[:3]] == [
        ["a", "attention"], ["f", "ffn"], ["outside every module", "unattributed"]
    ]  # fmt: skip
    (tmp_path / "sub").mkdir()
    bare = tmp_path / "sub" / "bare.json"
    bare.write_text(
        '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": 1, "ts": 0, "dur": 9}]}'
    )
    assert icicle.section(load_study([bare])) is None
    assert heat.section(load_study([bare])) is None


def test_device_time_counts_where_there_is_any(shared_traces: Path) -> None:
    study = load_study([shared_traces / "h100_bert_small_inference.json.gz"])
    one = figure(icicle.section(study))
    assert "Width is device time of one step" in one.note
    (row,) = embedded(one)
    assert row["to"][0] == [309.437]
    (layers,) = embedded(figure(heat.section(study)))
    assert layers["labels"] == ["0", "1", "2", "3", heat.OUTSIDE]
    assert sum(cost for cells in layers["costs"][0] for cost in cells if cost) == pytest.approx(309.437, rel=1e-3)


def test_annotations_of_a_user_are_modules_but_no_layers(shared_traces: Path) -> None:
    study = load_study([shared_traces / "v100_resnet_ddp_training.json.gz"])
    assert heat.section(study) is None
    assert "## backward ##" in {row[1] for row in figure(icicle.section(study)).body}
