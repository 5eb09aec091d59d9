"""`tracekit collect`: measure models at several input lengths; one self-describing trace per model and length."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, UsageError
from tracekit.safety import sanitize
from tracekit.units import byte_size, length_text

if TYPE_CHECKING:
    from rich.console import Console

    from tracekit.collect.plan import Plan, Planned, Request
    from tracekit.collect.rounds import Effort
    from tracekit.collect.sweep import Result

SUMMARY = "measure models at several input lengths, and profile them into one trace each"
EXAMPLES = (
    "tracekit collect --model longformer",
    "tracekit collect --model bert --model longformer --lengths 128:2048 --set num_hidden_layers=2 --out traces/",
)
_BUDGET_S = 1800.0  # of the bare command, whose lengths the user did not choose
_TIMEOUT_S = 1800.0
_FINE = ("ok", "cached", "oom", "skipped")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _configure_what(parser.add_argument_group("what to measure"))
    _configure_how(parser.add_argument_group("how to measure"))
    where = parser.add_argument_group("where to put it")
    where.add_argument("--out", type=Path, default=Path("traces"), metavar="FOLDER", help="default: traces/")
    where.add_argument("--force", action="store_true", help="measure again what is finished")
    where.add_argument("--dry-run", action="store_true", help="print the plan and end")


def _configure_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    model = "a name (see: tracekit models), hf:ORG/NAME, hf:FOLDER, file.py:factory, package.module:factory (repeat)"
    add("--model", action="append", default=[], metavar="[LABEL=]NAME", help=model)
    add("--no-baseline", action="store_true", help="leave out the vanilla model that NAME is compared with")
    lengths = "128,512 or 128:8192 (doubling) or 128:1024:128 (steps); default: 128:8192, as far as the budget reaches"
    add("--lengths", action="append", default=[], metavar="[UNIT=]SPEC", help=lengths)
    add("--batch", type=int, default=1, metavar="N", help="inputs in one step (default: 1)")
    attention = "sdpa, eager, local:W, ... (repeat, or commas; default: sdpa where it is real, else eager)"
    add("--attention", action="append", default=[], metavar="NAME", help=attention)
    add("--mode", default="inference", metavar="NAME", help="inference (default), training, decode (token by token)")
    add("--optimizer", default="adamw", metavar="NAME", help="of training: adamw (default), sgd, adafactor")
    add("--checkpointing", action="store_true", help="training that recomputes activations in the backward")
    add("--compile", default="none", metavar="WHAT", help="torch.compile: none (default), component, model")
    add("--dtype", default="float32", metavar="NAME", help="float32 (default), bfloat16, float16, float64")
    add("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1")
    add(
        "--preset",
        default="base",
        metavar="NAME",
        help="base (default: the published size) or tiny (to try things out)",
    )
    settings = "override the model's config, value as in TOML (repeat)"
    add("--set", action="append", default=[], dest="overrides", metavar="[MODEL.]KEY=VALUE", help=settings)
    add("--annotate", default="components", metavar="WHAT", help="components (default), layers, none")
    add("--pretrained", action="store_true", help="weights of the hub or folder, for hf: models (default: random)")
    add("--trust-remote-code", action="store_true", help="run the code that an hf: model brings along")


def _configure_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--repeats",
        type=int,
        metavar="N",
        help="rounds of one latency sample each (default: until the median is 1%% precise; with --captures 30)",
    )
    captures = "make every point N times, in new processes, into OUT/capture-1 ... (for tracekit compare; default: 1)"
    add("--captures", type=int, default=1, metavar="N", help=captures)
    add("--throughput", action="store_true", help="search for the best batch size too; takes several times as long")
    budget = f"time for the whole sweep (default: none with --lengths, else {_BUDGET_S:.0f})"
    add("--budget", type=float, metavar="SECONDS", help=budget)
    add(
        "--timeout",
        type=float,
        default=_TIMEOUT_S,
        metavar="SECONDS",
        help="of one point's step (default: %(default)g)",
    )
    add("--no-skip-after-oom", action="store_true", help="try longer inputs too where a shorter one did not fit")
    isolation = "how each point gets a process: forkserver (default), spawn, none (to debug a model)"
    add("--isolation", default="forkserver", metavar="HOW", help=isolation)
    add("--threads", type=int, metavar="N", help="threads of torch, pinned (default: the usable physical cores)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and inputs (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Plan, say so, collect with progress, and say what became of it."""
    from tracekit.collect import plan as planning
    from tracekit.collect import sweep
    from tracekit.collect.resolve import resolve

    sweep.require_extra()
    request, effort = _request(args), _effort(args)
    _refuse_file(args.out)
    resolve(args.model, pretrained=args.pretrained, trust_remote_code=args.trust_remote_code)
    budget = args.budget if args.budget is not None or args.lengths else _BUDGET_S
    plan = planning.make(request, args.out, force=args.force, budget_s=budget)
    sweep.check(plan)
    from rich.console import Console

    console = Console(stderr=True, highlight=False, quiet=args.quiet)
    _say(console, *_plan_lines(plan, args.out, budget))
    results: list[Result] = []
    interrupted = False
    if not args.dry_run:
        interrupted = _collect(console, plan, effort, args, budget, results)
        _say(console, *_result_lines(results, args.out, interrupted))
    if args.json:
        print(_document(args, plan, results, interrupted))
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if all(result.status in _FINE for result in results) else EXIT_FAILED


def _request(args: argparse.Namespace) -> Request:
    from tracekit.collect.lengths import parse
    from tracekit.collect.plan import Request

    return Request(
        models=args.model,
        lengths=parse(args.lengths) if args.lengths else None,
        preset=args.preset,
        overrides=_overrides(args.overrides),
        batch=args.batch,
        attention=[name.strip() for given in args.attention for name in given.split(",")],
        dtype=args.dtype,
        device=args.device,
        mode=args.mode,
        optimizer=args.optimizer,
        checkpointing=args.checkpointing,
        compile=args.compile,
        pretrained=args.pretrained,
        trust_remote_code=args.trust_remote_code,
        isolation=args.isolation,
        annotate=args.annotate,
        threads=args.threads,
        seed=args.seed,
        baseline=not args.no_baseline,
        captures=args.captures,
    )


def _overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` with the value as TOML writes it; a bare word is a string."""
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not key or not text:
            raise UsageError(f"--set {sanitize(pair)}: write KEY=VALUE, as in --set num_hidden_layers=2")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        if not isinstance(value, str | int | float | list):
            raise UsageError(f"--set {sanitize(pair)}: the value is a number, a word, true, false or a list of these")
        overrides[key] = value
    return overrides


def _effort(args: argparse.Namespace) -> Effort:
    from tracekit.collect.rounds import COMPARED, Effort

    for option, number in (
        ("captures", args.captures),
        ("repeats", args.repeats),
        ("budget", args.budget),
        ("timeout", args.timeout),
    ):
        if number is not None and not number > 0:
            raise UsageError(f"--{option} {number:g}: more than 0 is needed")
    repeats = args.repeats or (COMPARED if args.captures > 1 else None)
    return Effort(repeats=repeats, timeout=args.timeout, throughput=args.throughput)


def _refuse_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {sanitize(out)}: this is a file; name a folder")


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(sanitize(line, None), markup=False, soft_wrap=True)


def _plan_lines(plan: Plan, out: Path, budget: float | None) -> list[str]:
    todo = plan.todo
    curves = dict.fromkeys(f"{p.identity.model} ({p.identity.attention})" for p in plan.points)
    captures = max((point.capture for point in plan.points), default=0)
    times = f", {captures} captures of each" if captures else ""
    lines = [f"plan: {', '.join(curves)}; {_lengths_text(plan.points)}{times}"]
    cached = len(plan.points) - len(todo)
    again = f", {cached} finished already" if cached else ""
    cost = f", about {_rough(plan.seconds)} and {byte_size(plan.disk_bytes)}" if todo else ""
    lines.append(f"      {_count(len(todo), 'point')} to make{again}{cost}, into {out}")
    if plan.left_out:
        lines.append(
            f"      left out, past the budget of {budget or 0:,.0f} s: {_lengths_text(plan.left_out)} "
            f"(about {_rough(sum(p.seconds for p in plan.left_out))} more; --budget or --lengths takes them in)"
        )
    return lines


def _lengths_text(points: Sequence[Planned]) -> str:
    by_unit: dict[str, list[float]] = {}
    for point in points:
        by_unit.setdefault(point.identity.length_unit, []).append(point.identity.length)
    parts = []
    for unit, lengths in by_unit.items():
        distinct = sorted(set(lengths))
        shown = ", ".join(map(length_text, distinct)) if len(distinct) < 9 else _span(distinct)
        parts.append(f"{shown} {unit}")
    return " and ".join(parts)


def _span(lengths: Sequence[float]) -> str:
    return f"{len(lengths)} lengths from {length_text(lengths[0])} to {length_text(lengths[-1])}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _rough(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _collect(
    console: Console, plan: Plan, effort: Effort, args: argparse.Namespace, budget: float | None, results: list[Result]
) -> bool:
    """Run the plan into `results`, under a progress bar (plain lines where stderr is no terminal); True for Ctrl-C."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tracekit.collect.sweep import run as run_plan

    live = console.is_terminal and not args.quiet
    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, disable=not live, transient=True, refresh_per_second=2) as progress:
        task = progress.add_task("starting", total=len(plan.points))
        running = run_plan(
            plan,
            effort,
            budget_s=budget,
            skip_after_oom=not args.no_skip_after_oom,
            said=lambda doing: progress.update(task, description=sanitize(doing)),
            command=["tracekit", *sys.argv[1:]],
        )
        try:
            for result in running:
                results.append(result)
                progress.advance(task)
                if result.status != "cached" or args.verbose:
                    _say(console, _line(result))
        except KeyboardInterrupt:
            running.close()  # ends its processes, wherever we were interrupted
            return True
    return False


def _line(result: Result) -> str:
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.status:>7}  {result.planned.title}{reason}"


def _result_lines(results: Sequence[Result], out: Path, interrupted: bool) -> list[str]:
    counts = Counter(result.status for result in results)
    said = ", ".join(f"{number} {status}" for status, number in counts.items()) or "no point"
    lines = [f"interrupted; kept: {said}" if interrupted else said]
    if counts["ok"] + counts["cached"]:
        lines.append(f"traces are in {out}; next: tracekit report {out}")
    return lines


def _document(args: argparse.Namespace, plan: Plan, results: Sequence[Result], interrupted: bool) -> str:
    from tracekit.reports.envelope import envelope

    rows = [
        {**_shown(result.planned), "status": result.status, "reason": result.reason, "path": _text(result.path)}
        for result in results
    ]
    planned = [{**_shown(p), "finished": p.finished, "path": str(p.path)} for p in plan.points]
    left_out = [_shown(p) for p in plan.left_out]
    about = {"seconds": round(plan.seconds, 1), "bytes": plan.disk_bytes}
    whole = {"points": planned, "left_out": left_out, "about": about}
    return envelope("collect", [str(args.out)], points=rows, plan=whole, interrupted=interrupted)


def _shown(planned: Planned) -> dict[str, Any]:
    fields = ("model", "mode", "attention", "length", "length_unit", "batch", "dtype", "device")
    return {name: getattr(planned.identity, name) for name in fields}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
