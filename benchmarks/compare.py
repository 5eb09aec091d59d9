"""Does the gate hold what it promises? Real captures of one model, and of one with a planted change.

Usage: python benchmarks/compare.py OUT [--tries 20] [--captures 5] [--length 256] [--limit 5%]
       python benchmarks/compare.py --simulate

Collects `tries` times `captures` captures of each of three: a BERT of two layers, the same again, and one that does a
part of its feed-forward twice, so that a step takes 10% longer (the part is found first, by steps of both in turns in
one process; how much longer it then takes is printed). The three take turns all along, as base and new would in CI.
Then each try compares `captures` of the first with as many of the second (must exit 0), and with the planted ones (must
exit 1, and name `ffn` first). OUT may hold what an earlier run collected; nothing is collected twice. It also prints by
how much processes differ (standard deviations of logs), over the fixed work of their rounds and as they are, and what
each of them measured.

--simulate draws captures that scatter normally by 1 to 2%, a share of which met something that cost them 10% on average
(exponential), and counts: how often the 95% interval holds the true change, how often no change fails a limit of 5%,
and how often a change of 10% does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from tracekit import cli
from tracekit.analyze.interval import difference
from tracekit.analyze.matching import Capture
from tracekit.analyze.measured import METRICS
from tracekit.collect.rounds import COMPARED
from tracekit.points import Point, find_files, read_point

CODE = '''"""A BERT of two layers; the first product of the feed-forward is done twice for a part of the tokens."""

from transformers import BertConfig, BertModel

PART = {part!r}


def make(attention="sdpa"):
    config = BertConfig(num_hidden_layers=2, attn_implementation=attention)
    model = BertModel(config, add_pooling_layer=False).eval()
    for layer in model.encoder.layer if PART else ():
        slow_down(layer.intermediate.dense)
    return model


def slow_down(dense):
    forward = dense.forward

    def twice(x):
        forward(x[:, : int(PART * x.shape[1])])
        return forward(x)

    dense.forward = twice
'''
SIDES = ("base", "same", "slower")


def main() -> None:
    """Collect what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--captures", type=int, default=5)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--limit", default="5%")
    parser.add_argument("--simulate", action="store_true")
    args = parser.parse_args()
    if args.simulate:
        simulate()
    elif args.out is None:
        parser.error("name a folder for the captures")
    else:
        prepare(args.out, args.length)
        begun = time.monotonic()
        collect(args.out, args.tries * args.captures, args.length)
        print(f"collected in {time.monotonic() - begun:,.0f} s")
        spreads(args.out, args.tries * args.captures)
        judge(args.out, args.tries, args.captures, args.limit)


def prepare(out: Path, length: int) -> None:
    """Write the two models; the part that makes the slower one 10% slower is found by trying."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / "slower.py").exists():
        return
    (out / "base.py").write_text(CODE.format(part=0))
    part = 0.5
    for _ in range(2):
        part *= 0.1 / (ratio(part, length) - 1)
    (out / "slower.py").write_text(CODE.format(part=round(part, 4)))
    print(f"planted: {part:.3f} of the tokens twice; a step takes {100 * (ratio(part, length) - 1):.1f}% longer")


def ratio(part: float, length: int, rounds: int = 150) -> float:
    """How much longer a step takes with the change: the median over rounds of both in turns."""
    import torch

    torch.manual_seed(0)
    models = []
    for planted in (0, part):
        scope: dict[str, object] = {}
        exec(CODE.format(part=planted), scope)
        models.append(scope["make"]())  # type: ignore[operator]
    tokens = torch.randint(0, 30000, (1, length))
    found = []
    with torch.inference_mode():
        for number in range(rounds):
            walls = []
            for model in models:
                begun = time.perf_counter()
                model(input_ids=tokens)
                walls.append(time.perf_counter() - begun)
            if number >= 10:
                found.append(walls[1] / walls[0])
    return statistics.median(found)


def folder(out: Path, side: str, number: int) -> Path:
    """Where a capture lies."""
    return out / side / f"{number:03d}"


def collect(out: Path, count: int, length: int) -> None:
    """Captures of the three in turns, each in processes of its own."""
    for number in range(count):
        for side in SIDES:
            code = out / ("slower.py" if side == "slower" else "base.py")
            model = ("--model", f"model={code}:make", "--lengths", str(length), "--no-baseline")
            run("collect", *model, "--repeats", str(COMPARED), "--out", str(folder(out, side, number)), "-q")


def run(*words: str) -> tuple[int, str]:
    """Exit code and standard output of a command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = cli.main(list(words))
    return code, said.getvalue()


def spreads(out: Path, count: int) -> None:
    """By how much processes of one side differ, and every capture: a step and one product of the fixed work, in ms."""
    for side in SIDES:
        captures = [METRICS["latency"].read(Capture(None, point(out, side, number))) for number in range(count)]
        found = [one for one in captures if one is not None and one.pace_ns is not None]
        paced = np.array([statistics.median(one.paced) for one in found])
        robust = 1.4826 * float(np.median(np.abs(paced - np.median(paced))))
        plain = float(np.std([math.log(one.cost) for one in found], ddof=1))
        rounds = float(np.median([np.std(one.paced, ddof=1) for one in found]))
        print(
            f"{side:7} {len(found)} processes differ by {paced.std(ddof=1):.1%} (robust {robust:.1%}) over the fixed "
            f"work, {plain:.1%} as they are; rounds of one by {rounds:.1%}. A step and a product of each, in ms:"
        )
        print(" ".join(f"{one.cost / 1e6:.1f}/{(one.pace_ns or 0) / 1e6:.2f}" for one in found))


def point(out: Path, side: str, number: int) -> Point | None:
    """What a capture's file says of itself."""
    return read_point(next(find_files(folder(out, side, number))))


def judge(out: Path, tries: int, captures: int, limit: str) -> None:
    """Compare, as the command line does, and count."""
    counts = {"same": 0, "slower": 0}
    first = 0
    changes: dict[str, list[tuple[float, float]]] = {"same": [], "slower": []}
    for number in range(tries):
        sides = {side: gathered(out, side, number, captures) for side in SIDES}
        for side in counts:
            code, text = run("compare", str(sides["base"]), str(sides[side]), "--fail-on", limit, "--json")
            tables = json.loads(text)["tables"]
            row = next(row for row in tables["metrics"] if row["metric"] == "latency")
            changes[side].append((row["worse"], (row["hi"] - row["lo"]) / 2))
            counts[side] += code == (side == "slower")
            parts = [p for p in tables["changes"] if p["metric"] == "latency" and p["level"] == "component"]
            first += side == "slower" and code == 1 and parts[0]["component"] == "ffn"
    for side, right in counts.items():
        shown = ", ".join(f"{100 * change:+.1f}±{100 * half:.1f}" for change, half in changes[side])
        print(f"{side}: exit code right in {right} of {tries}; changes in % with half the interval: {shown}")
    print(f"slower: failed and ffn named first in {first} of {tries}")


def gathered(out: Path, side: str, number: int, captures: int) -> Path:
    """A folder with the captures of one try (as links to them)."""
    place = out / "tries" / f"{number:02d}" / side
    place.mkdir(parents=True, exist_ok=True)
    for at in range(number * captures, (number + 1) * captures):
        for path in find_files(folder(out, side, at)):
            link = place / f"{at:03d}-{path.name}"
            if not link.exists():
                link.hardlink_to(path)
    return place


def simulate(trials: int = 20_000) -> None:
    """Coverage, false alarms and power of the interval."""
    rng = np.random.default_rng(0)
    print("captures  scatter  disturbed   holds the truth   no change fails 5%   10% fails 5%")
    for captures in (5, 6, 8):
        for scatter in (0.01, 0.02):
            for disturbed in (0.0, 0.1, 0.2):
                shape = (2, trials, captures)
                logs = rng.normal(0, scatter, shape) + (rng.random(shape) < disturbed) * rng.exponential(0.1, shape)
                found = np.array([difference(base, new) for base, new in zip(*logs, strict=True)])
                low, high = found[:, 0] - found[:, 1], found[:, 0] + found[:, 1]
                limit = math.log(1.05)
                shares = ((low <= 0) & (high >= 0), low > limit, low + math.log(1.1) > limit)
                cells = "".join(f"{100 * float(share.mean()):18.2f}%" for share in shares)
                print(f"{captures:8} {scatter:8.0%} {disturbed:10.0%}{cells}")


if __name__ == "__main__":
    sys.exit(main())
