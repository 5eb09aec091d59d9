"""`tracekit collect`: measure models at several input lengths; one self-describing trace per model and length."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, UsageError
from tracekit.safety import sanitize
from tracekit.units import byte_size, length_text

if TYPE_CHECKING:
    from rich.console import Console

    from tracekit.collect.plan import Plan
    from tracekit.collect.sweep import Effort, Result

SUMMARY = "measure models at several input lengths, and profile them into one trace each"
EXAMPLES = (
    "tracekit collect --model longformer",
    "tracekit collect --model bert --model longformer --lengths 128:2048 --set num_hidden_layers=2 --out traces/",
)
_BUDGET_S = 1800.0  # of the bare command, whose lengths the user did not choose
_FINE = ("ok", "cached", "oom", "skipped")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = parser.add_argument_group("what to measure")
    what.add_argument(
        "--model", action="append", default=[], metavar="[LABEL=]NAME", help="see: tracekit models (repeat)"
    )
    what.add_argument(
        "--no-baseline", action="store_true", help="leave out the vanilla model that NAME is compared with"
    )
    what.add_argument(
        "--lengths",
        action="append",
        default=[],
        metavar="SPEC",
        help="128,512 or 128:8192 (doubling) or 128:1024:128 (steps); default: 128:8192 as far as --budget reaches",
    )
    what.add_argument("--batch", type=int, default=1, metavar="N", help="inputs in one step (default: 1)")
    what.add_argument(
        "--attention",
        action="append",
        default=[],
        metavar="NAME",
        help="sdpa, eager, ... (repeat; default: sdpa where real)",
    )
    what.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16, float64")
    what.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1")
    what.add_argument("--preset", default="base", help="base (default: the published size) or tiny (for trying out)")
    what.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="[MODEL.]KEY=VALUE",
        help="override the config (repeat)",
    )
    what.add_argument("--annotate", default="components", help="components (default), layers, none")
    how = parser.add_argument_group("how to measure")
    how.add_argument(
        "--repeats", type=int, metavar="N", help="latency samples per point (default: until 1%% precise, 5 to 30)"
    )
    how.add_argument(
        "--budget", type=float, metavar="SECONDS", help="time for the sweep (default: 1800 without --lengths)"
    )
    how.add_argument(
        "--timeout", type=float, default=1800.0, metavar="SECONDS", help="for one step of one point (default: 1800)"
    )
    how.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: the usable cores)")
    how.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    where = parser.add_argument_group("where to put it")
    where.add_argument("--out", type=Path, default=Path("traces"), metavar="FOLDER", help="default: traces/")
    where.add_argument("--force", action="store_true", help="measure again what is finished")
    where.add_argument("--dry-run", action="store_true", help="print the plan and end")


def run(args: argparse.Namespace) -> int:
    """Plan, say so, collect with progress, and say what became of it."""
    from tracekit.collect import plan as planning
    from tracekit.collect.sweep import require_extra

    require_extra()
    request = planning.Request(
        model_specs=args.model,
        lengths=_lengths(args.lengths),
        preset=args.preset,
        overrides=_overrides(args.overrides),
        batch=args.batch,
        attention=[name for given in args.attention for name in given.split(",")],
        dtype=args.dtype,
        device=args.device,
        annotate=args.annotate,
        threads=_at_least_one("--threads", args.threads),
        seed=args.seed,
        baseline=not args.no_baseline,
    )
    effort = _effort(args)
    budget = args.budget if args.budget is not None or args.lengths else _BUDGET_S
    plan = planning.make(request, args.out, args.force, budget)
    from rich.console import Console

    console = Console(stderr=True, highlight=False, quiet=args.quiet)
    _say_plan(console, plan, args.out, budget)
    if args.dry_run:
        results: list[Result] = []
    else:
        _refuse_unusable(args.out)
        results, interrupted = _collect(console, plan, effort, args, budget)
        _say_results(console, results, args.out, interrupted)
        if interrupted:
            return EXIT_INTERRUPTED
    if args.json:
        print(_document(args, plan, results))
    return EXIT_OK if all(result.status in _FINE for result in results) else EXIT_FAILED


def _lengths(specs: list[str]) -> list[int] | None:
    from tracekit.collect.lengths import parse

    return sorted({length for spec in specs for length in parse(spec)}) or None


def _overrides(pairs: list[str]) -> dict[str, Any]:
    """`key=value` with the value as TOML writes it; a bare word is a string."""
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {sanitize(pair)}: write KEY=VALUE, as in --set num_hidden_layers=2")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            overrides[key.strip()] = text
    return overrides


def _at_least_one(option: str, number: int | None) -> int | None:
    if number is not None and number < 1:
        raise UsageError(f"{option} is at least 1")
    return number


def _effort(args: argparse.Namespace) -> Effort:
    from tracekit.collect.sweep import Effort

    if args.timeout <= 0 or (args.budget is not None and args.budget <= 0):
        raise UsageError("--timeout and --budget are more than 0 seconds")
    return Effort(repeats=_at_least_one("--repeats", args.repeats), timeout=args.timeout)


def _refuse_unusable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {sanitize(out)}: this is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)


def _say_plan(console: Console, plan: Plan, out: Path, budget: float | None) -> None:
    todo = plan.todo
    cached = len(plan.points) - len(todo)
    lengths = sorted({p.identity.length for p in plan.points})
    span = length_text(lengths[0]) if len(lengths) == 1 else f"{length_text(lengths[0])} to {length_text(lengths[-1])}"
    curves = dict.fromkeys(f"{p.identity.model} ({p.identity.attention})" for p in plan.points)
    unit = plan.points[0].identity.length_unit
    lines = [f"plan: {sanitize(', '.join(curves))}; {len(lengths)} lengths, {span} {unit}"]
    again = f", {cached} finished already" if cached else ""
    cost = f", about {_rough(plan.seconds)} and {byte_size(plan.disk_bytes)}" if todo else ""
    lines.append(f"      {len(todo)} points to make{again}{cost}, into {sanitize(out)}")
    if plan.left_out:
        left = ", ".join(length_text(n) for n in sorted({p.identity.length for p in plan.left_out}))
        more = f"--budget {(budget or 0) * 4:.0f}"
        lines.append(
            f"      left out, as they pass the budget of {budget or 0:,.0f} s: {left} (more with {more} or --lengths)"
        )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _rough(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _collect(
    console: Console, plan: Plan, effort: Effort, args: argparse.Namespace, budget: float | None
) -> tuple[list[Result], bool]:
    """Run the plan under a progress bar (plain lines where stderr is no terminal); whether Ctrl-C ended it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tracekit.collect.sweep import run as run_plan

    results: list[Result] = []
    live = console.is_terminal and not args.quiet
    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, disable=not live, transient=True) as progress:
        task = progress.add_task("starting", total=len(plan.points))

        def doing(text: str) -> None:
            progress.update(task, description=sanitize(text))

        try:
            command = ["tracekit", *sys.argv[1:]]
            for result in run_plan(plan, effort, seed=args.seed, budget_s=budget, progress=doing, command=command):
                results.append(result)
                progress.advance(task)
                if result.status != "cached" or args.verbose:
                    progress.console.print(_line(result), markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            return results, True
    return results, False


def _line(result: Result) -> str:
    i = result.planned.identity
    what = f"{i.model} ({i.attention}) at {length_text(i.length, i.length_unit)}"
    reason = f": {result.reason}" if result.reason else ""
    return sanitize(f"{result.status:>7}  {what}{reason}", 500)


def _say_results(console: Console, results: list[Result], out: Path, interrupted: bool) -> None:
    counts = Counter(result.status for result in results)
    said = ", ".join(f"{number} {status}" for status, number in counts.items()) or "nothing made"
    console.print(f"{'interrupted; kept: ' if interrupted else ''}{said}", markup=False, soft_wrap=True)
    if counts["ok"] + counts["cached"]:
        console.print(
            f"traces are in {sanitize(out)}; next: tracekit report {sanitize(out)}", markup=False, soft_wrap=True
        )


def _document(args: argparse.Namespace, plan: Plan, results: list[Result]) -> str:
    from tracekit.reports.envelope import envelope

    rows = [
        {
            "model": result.planned.identity.model,
            "attention": result.planned.identity.attention,
            "length": result.planned.identity.length,
            "status": result.status,
            "path": str(result.path) if result.path else None,
            "reason": result.reason,
        }
        for result in results
    ]
    planned = [
        {"model": p.identity.model, "length": p.identity.length, "path": str(p.path), "finished": p.finished}
        for p in plan.points
    ]
    cost = {"seconds": round(plan.seconds, 1), "bytes": plan.disk_bytes}
    return envelope("collect", [str(args.out)], points=rows, plan={"points": planned, "about": cost})
