"""How honest are extrapolations? The longest lengths of curves are hidden, predicted, and compared.

Usage: python benchmarks/extrapolation.py [--trials 100] [--draws 400] [--seed 0] [--study FOLDER]

Synthetic curves are measured as in benchmarks/tipping.py, whose scenes these are too (`baseline` and `efficient` of its
crossings, `padded`), and two more:

law         a + b n^p with p between 0.5 and 2
turning     the larger of a + b n and c n^2: another part of the model decides from somewhere on

The longest one or two of 128, 256, ... 8192 are hidden, and the longest is predicted from the others: two and four
times the longest that was seen. Likewise the shortest one or two (`below`), and each between, one at a time. held: how
often the 95% interval holds the cost without noise; off: median distance of the estimate from it; width: median
hi / lo.

With --study, the costs of the curves of a folder of points, against what was measured there.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tipping import LENGTHS, NOISES, ROUNDS, Costs, crossing, measure, padded

from tracekit.analyze.predict import predict
from tracekit.analyze.resample import Floats, draw_curve

Scene = Callable[[np.random.Generator], Costs]
HIDDEN = ("one", "two", "below one", "below two", "between")


@dataclass(frozen=True)
class Score:
    """Of the hidden lengths of one cell: whether the interval held each, how far off the estimate was, hi / lo."""

    held: tuple[bool, ...]
    off: tuple[float, ...]
    widths: tuple[float, ...]

    def row(self) -> str:
        """The cell as text."""
        return f"{np.mean(self.held):6.1%} {np.median(self.off):6.1%} {np.median(self.widths):6.2f} {len(self.held):6}"


def law(rng: np.random.Generator) -> Costs:
    """Overhead and a power law."""
    power, overhead = rng.uniform(0.5, 2.0), rng.uniform(0, 1500)
    unit = rng.uniform(500, 5000) / 1024**power
    return lambda n: overhead + unit * n**power


def turning(rng: np.random.Generator) -> Costs:
    """A line, and from somewhere within the range on a square."""
    at, overhead = math.exp(rng.uniform(math.log(180), math.log(5800))), rng.uniform(50, 1500)
    return lambda n: np.maximum(overhead + n, (overhead + at) * (n / at) ** 2)


SCENES: dict[str, Scene] = {
    "baseline": lambda rng: crossing(rng)[0],
    "efficient": lambda rng: crossing(rng)[1],
    "padded": lambda rng: padded(rng)[1],
    "law": law,
    "turning": turning,
}


def hidden(count: int, how: str) -> Iterator[tuple[np.ndarray, int]]:
    """Which of `count` lengths stay, and which of the others is asked for."""
    every = np.arange(count)
    match how:
        case "one":
            yield every[:-1], count - 1
        case "two":
            yield every[:-2], count - 1
        case "below one":
            yield every[1:], 0
        case "below two":
            yield every[2:], 0
        case _:
            yield from ((np.delete(every, i), i) for i in range(1, count - 1))


def tried(
    lengths: Floats, logs: Floats, truth: Floats, how: str, seed: int, constant: float = 0.0
) -> Iterator[tuple[bool, float, float]]:
    """Each hidden length: held, off, width. Lengths (L,), log costs (R, L), true costs (L,)."""
    for stay, asked in hidden(len(lengths), how):
        if len(stay) < 2:
            continue
        found = predict(lengths[stay], logs[:, stay], lengths[[asked]], seed, constant)
        low, high, true = found.lo[0], found.hi[0], truth[asked]
        yield bool(low * (1 - 1e-6) <= true <= high * (1 + 1e-6)), abs(found.estimate[0] / true - 1), high / low


def score(scene: Scene, how: str, noise: float, rounds: int, trials: int, draws: int = 400, seed: int = 0) -> Score:
    """Run the trials of one cell; noise 0 is a cost that is known exactly."""
    rng = np.random.default_rng(seed)
    found = []
    for trial in range(trials):
        cost = scene(rng)
        if noise:
            lengths, logs = draw_curve(measure((cost, cost), noise, rounds, True, rng).efficient, draws, trial)
        else:
            lengths, logs = LENGTHS, np.repeat(np.log(cost(LENGTHS))[None], draws + 1, axis=0)
        truth = cost(lengths)
        found += list(tried(lengths, logs, truth, how, trial))
    return Score(*map(tuple, zip(*found, strict=True)))


def of_study(folder: Path, how: str, draws: int, seed: int) -> dict[str, Score]:
    """By metric, the curves of a folder of points; truth is what was measured."""
    from tracekit.analyze.load import load_study
    from tracekit.analyze.scaling import costs

    found: dict[str, list[tuple[bool, float, float]]] = {}
    for cost in costs(load_study([folder]), draws, seed):
        kind = "component" if cost.names["component"] else cost.names["metric"]
        truth = np.exp(cost.logs[0])
        found.setdefault(kind, []).extend(tried(cost.lengths, cost.logs, truth, how, seed, cost.constant))
    return {kind: Score(*map(tuple, zip(*cell, strict=True))) for kind, cell in found.items() if cell}


def main() -> None:
    """Print a row per scene (or metric), what is hidden, noise and rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", type=Path, help="a folder of points instead of synthetic curves")
    parser.add_argument("--brief", action="store_true", help="only 3%% noise and 8 rounds, and no noise")
    args = parser.parse_args()
    began = time.perf_counter()
    heads = f"{'held':>6} {'off':>6} {'width':>6} {'cases':>6}"
    if args.study:
        print(f"{'metric':12} {'hidden':10} {heads}")
        for how in HIDDEN:
            for kind, cell in of_study(args.study, how, args.draws, args.seed).items():
                print(f"{kind:12} {how:10} {cell.row()}")
        return
    print(f"{'scene':10} {'hidden':10} {'noise':>5} {'rounds':>6} {heads}")
    cells = [(0.03, 8)] if args.brief else [(noise, rounds) for noise in NOISES for rounds in ROUNDS]
    for name, scene in SCENES.items():
        for how in HIDDEN:
            for noise, rounds in [(0.0, 1), *cells]:
                cell = score(scene, how, noise, rounds, args.trials, args.draws, args.seed)
                print(f"{name:10} {how:10} {noise:5.0%} {rounds:6} {cell.row()}", flush=True)
    print(f"{args.trials} trials each, {args.draws} draws, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
