"""Predictions: known curves are held, exact ones predicted exactly, and nothing is surer than it can be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.predict import RESIDUE, Prediction, exponents, predict
from tracekit.analyze.resample import Curve, Floats, draw_curve

LENGTHS: Floats = np.array([128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0])
ELSEWHERE: Floats = np.array([16.0, 100.0, 200.0, 1000.0, 3000.0, 8192.0, 100_000.0])


def exactly(cost: Callable[[Floats], Floats], lengths: Floats = LENGTHS, draws: int = 200) -> Floats:
    """The draws of a curve without noise."""
    return np.repeat(np.log(cost(lengths))[None], draws + 1, axis=0)


def noisy(cost: Callable[[Floats], Floats], sd: float, seed: int = 0, lengths: Floats = LENGTHS) -> Floats:
    logs = exactly(cost, lengths)
    logs[1:] += np.random.default_rng(seed).normal(0, sd, logs[1:].shape)
    return logs


def holds(found: Prediction, truth: Floats) -> bool:
    return bool(((found.lo <= truth * (1 + 1e-9)) & (truth <= found.hi * (1 + 1e-9))).all())


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_a_power_law_is_held_everywhere(power: float) -> None:
    def cost(n: Floats) -> Floats:
        return 3 * n**power

    found = predict(LENGTHS, exactly(cost), ELSEWHERE)
    assert holds(found, cost(ELSEWHERE))
    inside = (ELSEWHERE > 128) & (ELSEWHERE < 4096)
    assert found.estimate[inside] == pytest.approx(cost(ELSEWHERE)[inside])  # a line in log-log


@pytest.mark.parametrize("terms", [(5000, 0, 0), (2000, 3, 0), (0, 3, 0.001), (2000, 3, 0.004), (0, 0, 0.004)])
def test_a_polynomial_is_predicted_exactly_outside_and_held_inside(terms: tuple[float, ...]) -> None:
    def cost(n: Floats) -> Floats:
        return terms[0] + terms[1] * n + terms[2] * n**2

    found = predict(LENGTHS, exactly(cost), ELSEWHERE)
    assert holds(found, cost(ELSEWHERE))
    outside = (ELSEWHERE < 128) | (ELSEWHERE > 4096)
    assert found.estimate[outside] == pytest.approx(cost(ELSEWHERE)[outside], rel=1e-6)


def test_every_kind_is_named() -> None:
    found = predict(LENGTHS, exactly(lambda n: n), np.array([64.0, 128.0, 200.0, 4096.0, 4097.0]))
    assert found.kind.tolist() == ["extrapolated", "measured", "interpolated", "measured", "extrapolated"]


def test_at_a_measured_length_the_interval_is_that_of_the_noise() -> None:
    logs = noisy(lambda n: 100 + n, 0.05)
    found = predict(LENGTHS, logs, LENGTHS)
    assert found.estimate == pytest.approx(np.exp(logs[0]))
    low, high = np.exp(np.quantile(logs[1:], [0.025, 0.975], axis=0))
    assert found.lo == pytest.approx(np.minimum(low, found.estimate))
    assert found.hi == pytest.approx(np.maximum(high, found.estimate))
    assert found.draws == pytest.approx(logs)


def test_a_curve_in_whole_windows_is_held_between_its_lengths() -> None:
    def cost(n: Floats) -> Floats:
        return 100 + 512 * np.ceil(n / 512)

    at = np.array([513.0, 600.0, 900.0, 1025.0, 1500.0, 1600.0, 3000.0])
    found = predict(LENGTHS, noisy(cost, 0.01), at)
    assert holds(found, cost(at))


def test_doubt_grows_with_the_distance() -> None:
    at: Floats = np.array([4096.0 * 2**doublings for doublings in range(6)])
    found = predict(LENGTHS, noisy(lambda n: 1000 + n + n**2 / 1000, 0.02), at)
    widths = found.hi / found.lo
    assert (np.diff(widths) > 0).all()
    certain = predict(LENGTHS, exactly(lambda n: n), at)
    assert (certain.hi / certain.lo)[5] == pytest.approx(np.exp(2 * 1.96 * RESIDUE * 5), rel=0.1)


def test_two_lengths_hold_what_they_cannot_tell_apart() -> None:
    lengths, at = np.array([1024.0, 2048.0]), np.array([1400.0, 8192.0])
    alike: list[Callable[[Floats], Floats]] = [lambda n: 1000 + n, lambda n: 50 * n**0.6, lambda n: 1e6 + n**2]
    alike.append(lambda n: n**1.7)
    for cost in alike:
        assert holds(predict(lengths, exactly(cost, lengths), at), cost(at))


def test_one_length_tells_nothing_of_others() -> None:
    found = predict(LENGTHS[:1], exactly(lambda n: n, LENGTHS[:1]), np.array([64.0, 128.0]))
    assert found.kind.tolist() == ["unknown", "measured"]
    assert np.isnan([found.estimate[0], found.lo[0], found.hi[0]]).all()
    assert found.estimate[1] == pytest.approx(128)


def test_costs_that_fall_are_levelled_before_they_are_continued() -> None:
    falling = noisy(lambda n: 1e6 - 10 * n, 0.01)
    found = predict(LENGTHS, falling, np.array([16.0, 1e6]))
    level = np.exp(falling[0].mean())
    assert found.estimate == pytest.approx([level, level])
    assert (found.hi / found.lo < 2).all()  # eight doublings beyond: 2% for each
    one_off = exactly(lambda n: n)
    one_off[:, 2] += 3.0  # a length that was disturbed: it and the longer ones are levelled, the shorter stay
    down, up = predict(LENGTHS, one_off, np.array([64.0, 8192.0])).estimate
    assert down == pytest.approx(64, rel=0.3)
    assert up < 2 * 8192


def test_what_is_known_not_to_grow_sharpens_what_lies_beyond() -> None:
    def cost(n: Floats) -> Floats:
        return 1e6 + 10 * n

    plain, told = (predict(LENGTHS, exactly(cost), np.array([1e6]), constant=constant) for constant in (0.0, 1e6))
    assert told.estimate[0] == pytest.approx(cost(np.array(1e6)))
    assert told.hi[0] / told.lo[0] < 2 < plain.hi[0] / plain.lo[0]
    too_much = predict(LENGTHS, exactly(cost), np.array([1e6]), constant=1e9)  # more than was measured: not believed
    assert too_much.estimate[0] == pytest.approx(plain.estimate[0])


costs = st.lists(st.floats(1, 1e12), min_size=1, max_size=6)


@given(costs, st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=5), st.floats(0, 5), st.integers(0, 9))
def test_the_estimate_lies_within_and_nothing_overflows(
    values: list[float], at: list[float], sd: float, seed: int
) -> None:
    lengths: Floats = np.array([2.0**i for i in range(len(values))])
    logs = np.log(values) + np.random.default_rng(seed).normal(0, sd, (50, len(values)))
    found = predict(lengths, logs, np.array(at), seed)
    known = ~np.isnan(found.estimate)
    assert known.all() or len(values) == 1
    assert (found.lo <= found.estimate)[known].all()
    assert (found.estimate <= found.hi)[known].all()
    assert found.draws.shape == (50, len(at))
    again = predict(lengths, logs, np.array(at), seed)
    assert np.array_equal(found.draws, again.draws, equal_nan=True)


@given(st.permutations(ELSEWHERE.tolist()))
def test_the_order_in_which_lengths_are_asked_does_not_matter(order: list[float]) -> None:
    logs = noisy(lambda n: 500 + n, 0.03)
    found, sorted_ = predict(LENGTHS, logs, np.array(order)), predict(LENGTHS, logs, ELSEWHERE)
    places = np.searchsorted(ELSEWHERE, order)
    assert np.array_equal(found.hi, sorted_.hi[places])
    assert np.array_equal(found.draws, sorted_.draws[:, places])


@pytest.mark.parametrize("shape", [(1, 6), (5, 3), (6,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one length and one draw"):
        predict(LENGTHS, np.zeros(shape), ELSEWHERE)


def test_many_lengths_are_worked_on_in_blocks() -> None:
    at = np.linspace(10, 20_000, 5000)
    logs = noisy(lambda n: 500 + n, 0.03)
    whole, part = predict(LENGTHS, logs, at), predict(LENGTHS, logs, at[4000:4100])
    assert whole.estimate[4000:4100] == pytest.approx(part.estimate)
    assert whole.hi[4000:4100] == pytest.approx(part.hi)


def test_exponents_are_slopes() -> None:
    assert exponents(LENGTHS, exactly(lambda n: 7 * n**2)) == pytest.approx(2)


def test_draws_of_one_curve() -> None:
    rounds = {256.0: [[2.0], [2.2], [1.8]], 128.0: [[1.0, 9.0, 1.0], [1.0]], 512.0: [[4.0]]}
    lengths, logs = draw_curve(Curve(rounds), 500, 0)
    assert lengths.tolist() == [128, 256]  # ascending; a single round has no known noise
    assert np.exp(logs[0]) == pytest.approx([1.0, 2.0])
    assert logs[1:, 0].std() == 0
    assert 0.02 < logs[1:, 1].std() < 0.3
    _, doubted = draw_curve(Curve(rounds), 500, 0, doubt={128.0: 0.5})
    assert doubted[1:, 0].std() == pytest.approx(0.5, rel=0.1)
    lengths, exact = draw_curve(Curve(rounds), 500, 0, exact=True)
    assert lengths.tolist() == [128, 256, 512]
    assert (exact == exact[0]).all()
