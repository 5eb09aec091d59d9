"""How honest are tipping points? Synthetic curves of which the truth is known, measured with realistic noise.

Usage: python benchmarks/tipping.py [--trials 60] [--draws 400] [--seed 0] [--apart]

Each trial draws a pair of cost curves, measures both at 128, 256, ... 8192 in rounds of three samples, and asks
`tracekit.analyze.crossing` for the tipping point. Samples scatter lognormally (1, 3, 10%), a round's speed drifts (5%,
common to both models), 5% of samples are outliers (1.5 to 3 times as long). Scenes:

crossing    a + b n + c n^2 against a + b n, crossing anywhere between 180 and 5,800
flat        one the other times a factor 3 to 30% off one: the truth is always or never
padded      the efficient model computes whole windows of 256, 384, 512 or 1024
coincident  ratios within 2% of one over the whole range, crossing inside

The truth is where the noiseless efficient curve becomes better for good, between the measured lengths where it does.
right: the interval, or the verdict, holds it; open: not resolved; wrong: neither. "of resolved" is right / (right +
wrong). width: median hi / lo; sharp: share of all trials that are resolved with hi / lo <= 1.5. Rounds are interleaved;
`--apart` measures the models at different times instead, each with drift of its own.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tracekit.analyze.crossing import Tipping, tipping_point
from tracekit.analyze.resample import Curve, Floats, Pair

LENGTHS = 2.0 ** np.arange(7, 14)
SAMPLES, DRIFT, OUTLIERS = 3, 0.05, 0.05
NOISES, ROUNDS = (0.01, 0.03, 0.10), (5, 8, 20)
Costs = Callable[[Floats], Floats]
Scene = Callable[[np.random.Generator], tuple[Costs, Costs]]


@dataclass(frozen=True)
class Score:
    """What became of the trials of one cell: counts, and hi / lo of the resolved intervals."""

    right: int
    unresolved: int
    wrong: int
    widths: tuple[float, ...]

    @property
    def trials(self) -> int:
        """All of them."""
        return self.right + self.unresolved + self.wrong

    @property
    def not_wrong(self) -> float:
        """The share that did not claim what is false."""
        return 1 - self.wrong / self.trials

    @property
    def sharp(self) -> float:
        """The share that is resolved with hi / lo <= 1.5."""
        return sum(width <= 1.5 for width in self.widths) / self.trials


def crossing(rng: np.random.Generator, window: int = 1) -> tuple[Costs, Costs]:
    """Baseline and efficient model, crossing between 180 and 5,800; the efficient one in whole windows."""
    at = math.exp(rng.uniform(math.log(180), math.log(5800)))
    overhead, linear = rng.uniform(50, 1500), rng.uniform(0.3, 1.0)
    constant = overhead * rng.uniform(0.05, 0.5)
    square = (overhead + at - constant - linear * at) / at**2
    return lambda n: constant + linear * n + square * n**2, lambda n: overhead + np.ceil(n / window) * window


def flat(rng: np.random.Generator) -> tuple[Costs, Costs]:
    """The same curve twice, one 3 to 30% off."""
    baseline, _ = crossing(rng)
    factor = math.exp(rng.choice([-1, 1]) * rng.uniform(0.03, 0.3))
    return baseline, lambda n: factor * baseline(n)


def padded(rng: np.random.Generator) -> tuple[Costs, Costs]:
    """An efficient model that computes whole windows, as Longformer does."""
    return crossing(rng, int(rng.choice([256, 384, 512, 1024])))


def coincident(rng: np.random.Generator) -> tuple[Costs, Costs]:
    """Two curves that nearly coincide."""
    baseline, _ = crossing(rng)
    at = math.exp(rng.uniform(math.log(180), math.log(5800)))
    return baseline, lambda n: baseline(n) * (n / at) ** -0.005


SCENES: dict[str, Scene] = {"crossing": crossing, "flat": flat, "padded": padded, "coincident": coincident}


def measure(pair: tuple[Costs, Costs], noise: float, rounds: int, apart: bool, rng: np.random.Generator) -> Pair:
    """What a sweep would have measured of a pair (baseline, efficient)."""
    shape = (2, len(LENGTHS), rounds, SAMPLES)
    drift = rng.normal(0, DRIFT, (2 if apart else 1, len(LENGTHS), rounds, 1))
    outliers = np.where(rng.random(shape) < OUTLIERS, rng.uniform(1.5, 3, shape), 1)
    costs = np.stack([one(LENGTHS) for one in pair])[:, :, None, None]
    times = costs * np.exp(drift + rng.normal(0, noise, shape)) * outliers
    baseline, efficient = (Curve(dict(zip(LENGTHS.tolist(), one.tolist(), strict=True))) for one in times)
    return Pair(efficient, baseline, frozenset() if apart else frozenset(LENGTHS.tolist()))


def truth(pair: tuple[Costs, Costs]) -> float:
    """The tipping point without noise; -inf for always, inf for never."""
    better = pair[1](LENGTHS) < pair[0](LENGTHS)
    if better.all() or not better[-1]:
        return -math.inf if better.all() else math.inf
    last = int(np.flatnonzero(~better)[-1])
    fine = np.geomspace(LENGTHS[last], LENGTHS[last + 1], 4001)
    return float(fine[np.flatnonzero(pair[1](fine) >= pair[0](fine))[-1]])


def judge(found: Tipping, true: float) -> bool | None:
    """Whether a verdict is right; None when it is not resolved."""
    if found.verdict == "not_resolved":
        return None
    if found.verdict != "from":
        return found.verdict == {-math.inf: "always", math.inf: "never"}.get(true)
    low = -math.inf if found.lo is None else found.lo
    return low * 0.999 <= true <= (math.inf if found.hi is None else found.hi) * 1.001


def score(
    scene: Scene, noise: float, rounds: int, trials: int, draws: int = 400, seed: int = 0, apart: bool = False
) -> Score:
    """Run the trials of one cell."""
    rng = np.random.default_rng(seed)
    judged: list[bool | None] = []
    widths: list[float] = []
    for trial in range(trials):
        pair = scene(rng)
        found = tipping_point(measure(pair, noise, rounds, apart, rng), draws, trial)
        judged.append(judge(found, truth(pair)))
        if found.verdict == "from" and found.lo and found.hi:
            widths.append(found.hi / found.lo)
    return Score(judged.count(True), judged.count(None), judged.count(False), tuple(widths))


def main() -> None:
    """Print a row per scene, noise and number of rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", action="store_true", help="rounds of their own for each model")
    args = parser.parse_args()
    began = time.perf_counter()
    print(f"{'scene':10} {'noise':>5} {'rounds':>6} {'right':>6} {'open':>6} {'wrong':>6} ", end="")
    print(f"{'of resolved':>11} {'width':>6} {'sharp':>6}")
    for name, scene in SCENES.items():
        for noise in NOISES:
            for rounds in ROUNDS:
                s = score(scene, noise, rounds, args.trials, args.draws, args.seed, args.apart)
                n = s.trials
                resolved = f"{s.right / (n - s.unresolved):11.0%}" if s.unresolved < n else f"{'-':>11}"
                width = f"{np.median(s.widths):6.2f}" if s.widths else f"{'-':>6}"
                print(f"{name:10} {noise:5.0%} {rounds:6} {s.right / n:6.0%} {s.unresolved / n:6.0%} ", end="")
                print(f"{s.wrong / n:6.0%} {resolved} {width} {s.sharp:6.0%}")
    print(f"{args.trials} trials each, {args.draws} draws, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
