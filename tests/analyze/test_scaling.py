"""Scaling of a study: exponents, terms, padding, predictions and limits of memory, on costs that are known."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.errors import UsageError
from tracekit.points import Calibration, Identity, PeakMemory, Point, Sample

LENGTHS = (128, 256, 512, 1024, 2048)
GIB = 1 << 30
Cost = Callable[[float], float]


def steps_of(parts: Mapping[str, float], scales: tuple[float, ...] = (1.0, 1.01, 0.99)) -> list[dict[str, Any]]:
    """Three profiled steps; in each, components one after another (us)."""
    events, clock = [], 0.0

    def event(name: str, start: float, dur: float) -> dict[str, Any]:
        kind = {"ph": "X", "cat": "user_annotation", "pid": 1, "tid": 1, "args": {}}
        return {**kind, "name": name, "ts": round(start, 3), "dur": round(dur, 3)}

    for number, scale in enumerate(scales):
        begin = clock
        for name, us in parts.items():
            events.append(event(f"tracekit::{name}#{name}", clock, us * scale))
            clock += us * scale
        events.append(event(f"ProfilerStep#{number}", begin, clock - begin + 0.001))
        clock += 10
    return events


def store(
    folder: Path, model: str, length: float, ns: float, parts: Mapping[str, float] | None = None, **fields: Any
) -> None:
    names = set(Identity.__struct_fields__)
    identity = Identity(model=model, length=length, **{k: v for k, v in fields.items() if k in names})
    samples = [
        Sample(wall_ns=round(ns * f), cpu_ns=None, sweep="s", round=i) for i, f in enumerate((0.99, 1, 1.01, 1, 1))
    ]
    rest = {k: v for k, v in fields.items() if k not in names}
    point = Point(**{"identity": identity, "samples": samples, **rest})
    events = steps_of(parts or {"ffn": 10.0})
    path = identity.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.header(point) + b'"traceEvents": ' + json.dumps(events).encode() + b"}")


def study_of(folder: Path, cost: Cost, memory: Cost | None = None, **fields: Any) -> Study:
    """One curve, `bert`, at LENGTHS."""
    for n in LENGTHS:
        known = {"memory": PeakMemory(bytes=round(memory(n)), method="test")} if memory else {}
        store(folder, "bert", n, cost(n), **{**known, **fields})
    return load_study([folder])


def whole(study: Study, metric: str = "latency") -> dict[str, Any]:
    rows = [row for row in study.scaling().to_dicts() if row["metric"] == metric and row["component"] is None]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_of_a_power_law(tmp_path: Path, power: float) -> None:
    row = whole(study_of(tmp_path, lambda n: 1e6 * n**power))
    assert row["exponent"] == pytest.approx(power, abs=1e-4)
    assert row["last_exponent"] == pytest.approx(power, abs=1e-4)
    assert power - 0.1 < row["lo"] < power < row["hi"] < power + 0.1
    assert row["last_lo"] <= row["lo"] < row["hi"] <= row["last_hi"]
    assert (row["lengths"], row["range_lo"], row["range_hi"]) == (5, 128, 2048)
    assert row["padded_to"] is None


def test_the_terms_of_a_polynomial(tmp_path: Path) -> None:
    row = whole(study_of(tmp_path, lambda n: 1e9 + 2e6 * n + 1e3 * n**2))
    assert [row[name] for name in ("constant", "per_length", "per_length2")] == pytest.approx([1e9, 2e6, 1e3], rel=0.01)
    shares = [row[name] for name in ("constant_share", "linear_share", "square_share")]
    assert sum(shares) == pytest.approx(1)
    assert shares[1] == pytest.approx(2e6 * 2048 / (1e9 + 2e6 * 2048 + 1e3 * 2048**2), rel=0.01)


def test_whole_windows_are_flagged(tmp_path: Path) -> None:
    assert whole(study_of(tmp_path, lambda n: 1e6 + 1e6 * math.ceil(n / 512)))["padded_to"] == 512


def test_components_have_exponents_of_their_own(tmp_path: Path) -> None:
    for n in LENGTHS:
        parts = {"attention": n**2 / 100, "ffn": n}
        store(tmp_path, "bert", n, 1e3 * sum(parts.values()), parts)
    study = load_study([tmp_path])
    rows = {row["component"]: row for row in study.scaling().to_dicts() if row["component"]}
    assert rows["attention"]["exponent"] == pytest.approx(2, abs=0.02)
    assert rows["ffn"]["exponent"] == pytest.approx(1, abs=0.02)
    assert rows["ffn"]["lo"] < 1 < rows["ffn"]["hi"]
    parts_ns = study.predictions([8192.0])
    known = {row["component"]: row["value"] for row in parts_ns.to_dicts()}
    assert known["attention"] == pytest.approx(1e3 * 8192**2 / 100, rel=0.05)
    assert known[None] == pytest.approx(known["attention"] + known["ffn"], rel=0.05)


def test_a_component_of_one_profiled_step_has_no_known_noise(tmp_path: Path, store_point: Callable[..., Path]) -> None:
    for n in LENGTHS:
        store_point(tmp_path, "bert", n, float(n))
    assert set(load_study([tmp_path]).scaling()["component"]) == {None}


def test_a_machine_that_changed_its_speed_makes_exponents_unsure(tmp_path: Path) -> None:
    def calibrated(ns: int) -> list[Calibration]:
        return [Calibration(round=i, unix_s=0.0, matmul_ns=ns, copy_ns=ns) for i in range(5)]

    widths = []
    for name, slow in (("even", 1000), ("uneven", 2000)):
        for n in LENGTHS:
            store(tmp_path / name, "bert", n, 1e6 * n, calibration=calibrated(slow if n == 2048 else 1000))
        row = whole(load_study([tmp_path / name]))
        widths.append(row["hi"] - row["lo"])
    assert widths[1] > 5 * widths[0]


def test_one_length_says_nothing_of_growth(tmp_path: Path) -> None:
    store(tmp_path, "bert", 128, 1e6)
    study = load_study([tmp_path])
    assert not study.scaling().height
    rows = {row["length"]: row for row in study.predictions([128, 512]).to_dicts() if row["component"] is None}
    assert (rows[128]["kind"], rows[512]["kind"]) == ("measured", "unknown")
    assert rows[512]["value"] is rows[512]["lo"] is None


def test_predictions_are_of_the_lengths_of_their_unit(tmp_path: Path) -> None:
    for n in (2.0, 4.0, 8.0):
        store(tmp_path, "bert", n * 128, n * 1e6)
        store(tmp_path, "hubert", n, n * 1e7, length_unit="seconds")
    study = load_study([tmp_path])
    found = study.predictions({"tokens": [2048, 512, 512], "seconds": [60]})
    found = found.filter(found["component"].is_null())
    assert found.select("series", "length", "kind").rows() == [
        ("bert", 512, "measured"),
        ("bert", 2048, "extrapolated"),
        ("hubert", 60, "extrapolated"),
    ]
    assert found["value"].to_list() == pytest.approx([4e6, 16e6, 60e7], rel=0.01)
    assert (found["lo"] < found["value"]).all()
    assert (found["value"] < found["hi"]).all()
    assert study.predictions([60.0]).height == 2 * found["series"].n_unique()  # whole and one component, every curve


@pytest.mark.parametrize("length", [0, -1, math.inf, math.nan])
def test_what_is_no_length_is_refused(tmp_path: Path, length: float) -> None:
    with pytest.raises(UsageError, match="is no length"):
        study_of(tmp_path, lambda n: n * 1e6).predictions([length])


def limit_of(study: Study) -> dict[str, Any]:
    rows = study.memory_limits().to_dicts()
    assert len(rows) == 1
    return rows[0]


def test_memory_is_extrapolated_to_what_the_machine_has(tmp_path: Path) -> None:
    study = study_of(tmp_path, lambda n: n, lambda n: 1e8 + 1e6 * n, environment={"memory_bytes": 16 * GIB})
    limit = limit_of(study)
    assert limit["limit_bytes"] == limit["usable_bytes"] == 16 * GIB
    assert limit["fits_until"] == pytest.approx((16 * GIB - 1e8) / 1e6, rel=0.01)
    assert limit["lo"] < limit["fits_until"] < limit["hi"]
    assert not limit["observed"]
    fits = study.predictions([2048, limit["fits_until"], 10 * limit["hi"]]).unique(["length", "fits"]).sort("length")
    assert fits["fits"].to_list() == [True, None, False]


def test_what_the_process_holds_beside_the_step_counts(tmp_path: Path) -> None:
    for n in LENGTHS:
        memory = PeakMemory(bytes=10**6 * n, method="test", resident_peak_bytes=10**6 * n + GIB)
        store(tmp_path, "bert", n, n, memory=memory, environment={"memory_bytes": 16 * GIB})
    limit = limit_of(load_study([tmp_path]))
    assert limit["usable_bytes"] == 15 * GIB
    assert limit["fits_until"] == pytest.approx(15 * GIB / 1e6, rel=0.01)


def test_a_device_has_memory_of_its_own(tmp_path: Path) -> None:
    environment = {"memory_bytes": 16 * GIB, "gpu_memory_bytes": 4 * GIB}
    study = study_of(tmp_path, lambda n: n, lambda n: 1e6 * n, environment=environment, device="cuda")
    assert limit_of(study)["limit_bytes"] == 4 * GIB


def fail(folder: Path, length: float, status: str = "oom") -> None:
    point = Point(identity=Identity(model="bert", length=length), status=status, reason="no memory")
    (folder / f"{length}.failed.json").write_bytes(points.encode(point))


def test_a_failure_bounds_the_limit(tmp_path: Path) -> None:
    environment = {"memory_bytes": 16 * GIB}
    study_of(tmp_path, lambda n: n, lambda n: 1e6 * n, environment=environment)
    fail(tmp_path, 4096)
    fail(tmp_path, 8192)
    limit = limit_of(load_study([tmp_path]))  # by its memory it would fit up to 17,000
    assert limit["observed"]
    assert (limit["lo"], limit["fits_until"], limit["hi"]) == (2048, None, 4096)


def test_a_failure_beyond_the_estimate_leaves_it(tmp_path: Path) -> None:
    study_of(tmp_path, lambda n: n, lambda n: 1e6 * n, environment={"memory_bytes": 16 * GIB})
    fail(tmp_path, 17_300)
    limit = limit_of(load_study([tmp_path]))
    assert limit["lo"] < limit["fits_until"] < limit["hi"] == 17_300


def test_a_failure_alone_is_a_limit(tmp_path: Path) -> None:
    study_of(tmp_path, lambda n: n)
    fail(tmp_path, 8192)
    study = load_study([tmp_path])
    limit = limit_of(study)
    assert (limit["fits_until"], limit["lo"], limit["hi"], limit["observed"]) == (None, 2048, 8192, True)
    rows = study.predictions([2048, 4096, 8192]).unique(["length", "fits"]).sort("length")
    assert rows["fits"].to_list() == [True, None, False]


def test_an_error_is_no_limit_and_unknown_memory_none(tmp_path: Path) -> None:
    study_of(tmp_path, lambda n: n, lambda n: 1e6 * n)
    fail(tmp_path, 8192, "error")
    assert not load_study([tmp_path]).memory_limits().height


def test_the_intervals_hold_the_truth(root: Path) -> None:
    """A small run of benchmarks/extrapolation.py; its figures are in docs/benchmarks.md."""
    spec = importlib.util.spec_from_file_location("extrapolation_benchmark", root / "benchmarks" / "extrapolation.py")
    assert spec
    assert spec.loader
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    for name in ("baseline", "efficient", "padded", "law"):
        for how in ("one", "two", "below one", "between"):
            found = benchmark.score(benchmark.SCENES[name], how, 0.03, 8, 30, 200)
            least = 0.8 if (name, how) == ("padded", "between") else 0.9
            assert sum(found.held) / len(found.held) >= least, (name, how)
    sharp = benchmark.score(benchmark.SCENES["baseline"], "one", 0.03, 8, 30, 200)
    assert sorted(sharp.widths)[15] < 1.6
