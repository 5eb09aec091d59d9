"""Known faults, as data: what each changes in the code, and the tests that must fail for it. See `tests.faults`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One planted fault: in `file`, `old` (which stands there once) becomes `new`; one of `tests` must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _fault(name: str, file: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(name, file, old, new, tuple(f"tests/{test}.py" for test in tests))


_NEST, _TABLES, _READ = "analyze/nest.py", "analyze/tables.py", "analyze/read.py"
_DECODE, _FORGIVE, _LAUNCHES = "analyze/decode.py", "analyze/forgive.py", "analyze/launches.py"
_MEMORY, _FLOPS, _CURVES = "analyze/memory.py", "analyze/flops.py", "analyze/curves.py"
_TIPPING, _CROSSING, _RESAMPLE = "analyze/tipping.py", "analyze/crossing.py", "analyze/resample.py"
_SAFETY = "tracekit/safety.py"

FAULTS = (
    # -- who owns an instant
    _fault(
        "last started becomes first started",
        _NEST,
        "        parents.append(owner)\n",
        "        parents.append(stack[min(1, len(stack) - 1)][1])\n",
        "analyze/test_nest",
    ),
    _fault(
        "a tie by end is swapped",
        _NEST,
        "descending=[False, True, False, False]",
        "descending=[False, False, False, False]",
        "analyze/test_nest",
    ),
    _fault(
        "events that touch are nested",
        _NEST,
        "        while until <= now:\n",
        "        while until < now:\n",
        "analyze/test_nest",
    ),
    _fault(
        "what outlives its parent takes nothing from what is beneath",
        _NEST,
        "for row in self.outliving().tolist():",
        "for row in self.outliving().tolist()[:0]:",
        "analyze/test_nest",
    ),
    _fault(
        "an event owns the instant at which it ends",
        _NEST,
        "asked[self.end_ns[owner[asked]] <= time_ns[asked]]",
        "asked[self.end_ns[owner[asked]] < time_ns[asked]]",
        "analyze/test_nest",
    ),
    _fault(
        "Python frames are not subtracted from what called them",
        "analyze/trace.py",
        "    self_ns = pl.Series(whole.self_ns())\n",
        "    frames_ns = np.zeros(host.height + 1, dtype=np.int64)\n"
        '    python = (host["kind"] == "python").to_numpy()\n'
        '    np.add.at(frames_ns, whole.parent[python], host["dur_ns"].to_numpy()[python])\n'
        "    self_ns = pl.Series(whole.self_ns() + frames_ns[:-1])\n",
        "analyze/test_attribute",
    ),
    # -- sums and unions
    _fault(
        "a union becomes a sum",
        _TABLES,
        "    return int(ends.select(_newly_covered(by).sum()).item())\n",
        '    return int(intervals["dur_ns"].sum())\n',
        "analyze/test_nest",
        "analyze/test_attribute",
        "reports/test_device_section",
    ),
    _fault(
        "what overlaps counts twice in busy time",
        _TABLES,
        '    return (pl.col("end_ns") - begin).clip(0)\n',
        '    return pl.col("end_ns") - pl.col("start_ns")\n',
        "reports/test_device_section",
        "analyze/test_attribute",
    ),
    _fault(
        "recursion is counted twice in total time",
        _TABLES,
        'total_ns=pl.col("dur_ns").filter(outer).sum()',
        'total_ns=pl.col("dur_ns").sum()',
        "analyze/test_attribute",
    ),
    _fault(
        "of equal instances of a name none is inside the other",
        _TABLES,
        'outermost=(pl.col("end_ns") > reached)',
        'outermost=(pl.col("end_ns") >= reached)',
        "analyze/test_attribute",
    ),
    _fault(
        "shares are of the largest, not of the total",
        _TABLES,
        "then(pl.col(column) / total)",
        "then(pl.col(column) / pl.col(column).max())",
        "analyze/test_attribute",
        "reports/test_html",
    ),
    _fault(
        "a step's mean is divided by calls",
        _TABLES,
        'pl.col("host_ns") / steps',
        'pl.col("host_ns") / pl.col("calls")',
        "analyze/test_attribute",
    ),
    _fault(
        "least and most of a step are swapped",
        _TABLES,
        "lo_ns=inside.min(),\n        hi_ns=inside.max(),",
        "lo_ns=inside.max(),\n        hi_ns=inside.min(),",
        "analyze/test_attribute",
    ),
    _fault(
        "a step without the component does not count as its least",
        _TABLES,
        'absent = pl.col("present") < steps',
        'absent = pl.col("present") < 0',
        "analyze/test_attribute",
    ),
    _fault(
        "the rest of a top list is dropped",
        _TABLES,
        'return pl.concat([table[:count], rest], how="diagonal").select(table.columns)',
        "return table[:count]",
        "analyze/test_attribute",
    ),
    # -- device work
    _fault(
        "orphans vanish from the components",
        _TABLES,
        "    if not orphans.height:\n",
        "    if orphans.height >= 0:\n",
        "analyze/test_attribute",
    ),
    _fault(
        "orphans vanish from the kernels",
        _TABLES,
        'table = device.group_by("name", "kind", "launch").agg(',
        'table = device.filter(pl.col("row").is_not_null()).group_by("name", "kind", "launch").agg(',
        "analyze/test_attribute",
        "reports/test_device_section",
    ),
    _fault(
        "where a launch lies goes before its External id",
        _LAUNCHES,
        'pl.coalesce("id_row", inner)',
        'pl.coalesce(inner, "id_row")',
        "analyze/test_attribute",
    ),
    _fault(
        "correlation 0 links",
        _LAUNCHES,
        'calls = launches.filter(pl.col("correlation") != 0)\n',
        "calls = launches\n",
        "analyze/test_attribute",
    ),
    _fault(
        "a launch that several claim links",
        _LAUNCHES,
        'linked = pl.col("launches") == 1\n',
        'linked = pl.col("launches") >= 1\n',
        "analyze/test_attribute",
    ),
    _fault(
        "of a graph only the first kernel has an operator",
        _LAUNCHES,
        "row=pl.when(linked).then(",
        'row=pl.when(linked & pl.col("correlation").is_first_distinct()).then(',
        "analyze/test_attribute",
    ),
    # -- training
    _fault(
        "backward work goes to the forward operator that began first",
        "analyze/autograd.py",
        'agg(forward_row=pl.col("forward_row").last())',
        'agg(forward_row=pl.col("forward_row").first())',
        "analyze/test_autograd",
    ),
    _fault(
        "recomputed work is charged to the forward operator too",
        "analyze/attribute.py",
        "    backward = node.within(model)\n",
        "    backward = node.index >= 0\n",
        "analyze/test_autograd",
    ),
    _fault(
        "optimizer work is not told apart",
        "analyze/attribute.py",
        "(optimizing, OPTIMIZER), (losing, LOSS)",
        "(losing, LOSS)",
        "analyze/test_autograd",
    ),
    _fault(
        "module frames are judged inside-out",
        "analyze/ranges.py",
        "above = ancestor(parent, ours.is_not_null(), outermost=True)",
        "above = ancestor(parent, ours.is_not_null(), outermost=False)",
        "analyze/test_attribute",
    ),
    # -- times and what the reader says
    _fault(
        "doubles are taken for exact nanoseconds",
        _DECODE,
        "if all(np.abs(one).max() < ev.FLOAT_EXACT_US for one in times.values()):",
        "if all(np.abs(one).max() < 1e18 for one in times.values()):",
        "analyze/test_read",
    ),
    _fault(
        "microseconds become nanoseconds in floating point",
        "analyze/events.py",
        "whole.astype(np.int64) * 1000 + np.rint((values - whole) * 1000).astype(np.int64)",
        "(values * 1000).astype(np.int64)",
        "analyze/test_read",
    ),
    _fault(
        "times that are text go through a float",
        _FORGIVE,
        '    digits = (whole + fraction).lstrip("0")\n',
        '    digits = str(int(float(f"{whole}.{fraction or 0}") * 10 ** len(fraction)))\n',
        "analyze/test_read",
    ),
    _fault(
        "times that are text are not told",
        _FORGIVE,
        'notes += ("string_time",) if',
        "notes += () if",
        "analyze/test_read",
    ),
    _fault(
        "a cut file is not told",
        _READ,
        '        self.findings.add("truncated", f"after {self.taker.seen:,} events, at byte {self._at():,}")\n',
        "        pass\n",
        "analyze/test_read",
    ),
    _fault(
        "of a time given twice the last counts in silence",
        _DECODE,
        "        if count != expected and block.count(key) != expected:\n",
        "        if count < expected and block.count(key) < expected:\n",
        "analyze/test_read",
    ),
    _fault(
        "of a key given twice the last counts in silence",
        _FORGIVE,
        "    if len(result) != len(pairs):\n",
        "    if len(result) > len(pairs):\n",
        "analyze/test_read",
    ),
    _fault(
        "negative durations are kept",
        _DECODE,
        "return (durs >= 0) & (durs <= _MAX_DUR_NS)",
        "return (durs <= _MAX_DUR_NS)",
        "analyze/test_read",
    ),
    _fault(
        "an end closes the begin that opened first",
        _FORGIVE,
        "            pairs.append((stack.pop(), mark))\n",
        "            pairs.append((stack.pop(0), mark))\n",
        "analyze/test_read",
    ),
    _fault(
        "a gzip bomb is inflated",
        "analyze/stream.py",
        "_BOMB_BYTES, _BOMB_RATIO = 32 << 20, 200",
        "_BOMB_BYTES, _BOMB_RATIO = 32 << 20, 20000",
        "analyze/test_read",
    ),
    _fault(
        "the cache goes by a file's name",
        "analyze/cache.py",
        'f"{tracekit.__version__}-{FORMAT}-{digest}"',
        'f"{tracekit.__version__}-{FORMAT}-{path.name}"',
        "analyze/test_cache",
    ),
    _fault(
        "kept tables outlive a change of the rules",
        "analyze/kept.py",
        'f"{_code()} {said}"',
        'f"{_code()}"',
        "analyze/test_kept",
    ),
    # -- memory and work
    _fault(
        "the block that makes the peak is not live at it",
        _MEMORY,
        'then = pl.col("position") <= pl.col("at")',
        'then = pl.col("position") < pl.col("at")',
        "analyze/test_memory",
    ),
    _fault(
        "a block that was freed before the peak is live at it",
        _MEMORY,
        '(pl.col("freed").is_null() | (pl.col("freed") > pl.col("at")))',
        '(pl.col("freed").is_null() | (pl.col("freed") >= pl.col("at") - 1))',
        "analyze/test_memory",
    ),
    _fault(
        "what a free gives back was not there before",
        _MEMORY,
        'later = -pl.col("bytes").filter("foreign").sum()',
        "later = pl.lit(0, dtype=pl.Int64)",
        "analyze/test_memory",
    ),
    _fault(
        "FLOPs of a product without its batch",
        _FLOPS,
        "rows = math.prod(a[:-1])\n        out",
        "rows = a[-2] if len(a) > 1 else 1\n        out",
        "analyze/test_flops",
    ),
    _fault(
        "a multiply-add counts as one",
        _FLOPS,
        "return 2 * rows * a[-1] * columns, sum",
        "return rows * a[-1] * columns, sum",
        "analyze/test_flops",
    ),
    _fault(
        "halves have four bytes",
        _FLOPS,
        '"c10::complex<c10::Half>"), 2)',
        '"c10::complex<c10::Half>"), 4)',
        "analyze/test_flops",
    ),
    _fault(
        "nested operators both count their FLOPs",
        _FLOPS,
        "return known.scatter(enclosing[enclosing >= 0], None)",
        "return known",
        "analyze/test_flops",
    ),
    # -- latency and its certainty
    _fault(
        "latency is a mean",
        _CURVES,
        "    median = statistics.median(walls)\n",
        "    median = statistics.fmean(walls)\n",
        "analyze/test_study",
    ),
    _fault(
        "quartiles of another method",
        _CURVES,
        'statistics.quantiles(values, n=4, method="inclusive")',
        'statistics.quantiles(values, n=4, method="exclusive")',
        "analyze/test_study",
    ),
    _fault(
        "run delay is ignored",
        _CURVES,
        "sum(delays) / sum(walls) if",
        "0.0 if",
        "analyze/test_study",
        "analyze/test_doubts",
    ),
    _fault(
        "the worst trial is the throughput",
        _CURVES,
        "rate, batch = max(rates)",
        "rate, batch = min(rates)",
        "analyze/test_study",
    ),
    _fault(
        "a busy machine is not doubted",
        "analyze/doubts.py",
        "share > curves.BUSY_SHARE",
        "share > 1e9",
        "analyze/test_doubts",
    ),
    _fault(
        "drift is not doubted",
        "analyze/doubts.py",
        "return abs(math.log1p(change)) > math.log1p(DRIFT)",
        "return False",
        "analyze/test_doubts",
    ),
    _fault(
        "a round is its mean in the bootstrap",
        _RESAMPLE,
        "np.log([statistics.median(samples) for samples in rounds])[:, None]",
        "np.log([statistics.fmean(samples) for samples in rounds])[:, None]",
        "analyze/test_predict",
        "analyze/test_tipping",
    ),
    _fault(
        "rounds taken in turns are drawn apart",
        _TIPPING,
        "if len(common) > 1 and all(sweep for sweep, _ in common):",
        "if len(common) > 1e9:",
        "analyze/test_tipping",
    ),
    _fault(
        "rounds that were not taken in turns are paired",
        _TIPPING,
        "if len(common) > 1 and all(sweep for sweep, _ in common):",
        "if len(common) > 1:",
        "analyze/test_tipping",
    ),
    # -- tipping points and predictions
    _fault(
        "the sign of a tipping point is swapped",
        _RESAMPLE,
        "return self.baseline - self.efficient",
        "return self.efficient - self.baseline",
        "analyze/test_tipping",
    ),
    _fault(
        "always is called never",
        _CROSSING,
        'return Tipping("always")',
        'return Tipping("never")',
        "analyze/test_tipping",
    ),
    _fault(
        "intervals hold half of the draws",
        _CROSSING,
        "TAIL = 0.025",
        "TAIL = 0.25",
        "analyze/test_tipping",
        "analyze/test_scaling",
        "analyze/test_predict",
    ),
    _fault(
        "lengths at which the baseline cannot run are forgotten",
        _TIPPING,
        "return Curve(rounds, frozenset(failed - set(rounds)))",
        "return Curve(rounds)",
        "analyze/test_tipping",
    ),
    _fault(
        "a doubt larger than the difference withholds nothing",
        _TIPPING,
        "return Pair(_curve(efficient, own), _curve(base, other), frozenset(shared), doubt, exact=metric.exact)",
        "return Pair(_curve(efficient, own), _curve(base, other), frozenset(shared), exact=metric.exact)",
        "analyze/test_tipping",
    ),
    _fault(
        "exponents on linear axes",
        "analyze/predict.py",
        "    x = np.log(lengths)\n    x = x - x.mean()\n",
        "    x = np.asarray(lengths)\n    x = x - x.mean()\n",
        "analyze/test_predict",
        "analyze/test_scaling",
    ),
    _fault(
        "what is extrapolated is not called so",
        "analyze/predict.py",
        "np.where(inside, INTERPOLATED, EXTRAPOLATED if len(lengths) > 1 else UNKNOWN)",
        "np.where(inside, INTERPOLATED, INTERPOLATED if len(lengths) > 1 else UNKNOWN)",
        "analyze/test_predict",
    ),
    # -- what leaves us
    _fault(
        "C1 control characters reach the terminal",
        _SAFETY,
        "\\x7f-\\x9f",
        "\\x7f",
        "tracekit/test_words",
    ),
    _fault(
        "characters that reverse the text reach the terminal",
        _SAFETY,
        "\\u2028-\\u202e",
        "\\u2028-\\u2029",
        "tracekit/test_words",
    ),
    _fault(
        "two names become one file",
        _SAFETY,
        'return f"{stem[: limit - 9]}-{digest}"',
        "return stem[:limit]",
        "tracekit/test_words",
    ),
    _fault(
        "links are followed and replaced",
        _SAFETY,
        "mode = path.lstat().st_mode",
        "mode = path.stat().st_mode",
        "tracekit/test_words",
    ),
    _fault(
        "devices and pipes are replaced",
        _SAFETY,
        "    refuse_special_target(path)\n    path.parent.mkdir",
        "    path.parent.mkdir",
        "tracekit/test_words",
    ),
    _fault(
        "a formula in a cell of CSV is one",
        "reports/formats.py",
        'return f"\'{text}" if _FORMULA.match(text) else text',
        "return text",
        "reports/test_formats",
    ),
    _fault(
        "a pipe ends a cell of markdown",
        "reports/formats.py",
        r"""_MARKUP = re.compile(r"[\\`*\[\]|~$]|""",
        r"""_MARKUP = re.compile(r"[\\`*\[\]~$]|""",
        "reports/test_formats",
    ),
    _fault(
        "a name ends the page's script",
        "reports/page.py",
        'separators=(",", ":")).translate(_ESCAPES)',
        'separators=(",", ":"))',
        "reports/test_safety",
    ),
    _fault(
        "a link leads a point out of its folder",
        "collect/plan.py",
        "                    refuse_outside(path, out)\n",
        "",
        "collect/test_plan",
    ),
    _fault(
        "what another user planted in the cache is read",
        _SAFETY,
        "status.st_uid == os.geteuid()",
        "status.st_uid >= 0",
        "analyze/test_cache",
    ),
    _fault(
        "a folder of the cache that anybody may write to is read",
        _SAFETY,
        "not status.st_mode & 0o022",
        "status.st_mode > 0",
        "analyze/test_cache",
    ),
    _fault(
        "events of a file that changed are cached for what it was",
        "analyze/cache.py",
        "if stamp(path.stat()) == seen:",
        "if seen:",
        "analyze/test_cache",
    ),
    _fault(
        "a plan that reads files is carried out",
        "analyze/query.py",
        "if _SCAN.search(plan.explain(optimized=False)):",
        "if _SCAN.fullmatch(plan.explain(optimized=False)):",
        "analyze/test_query",
    ),
    _fault(
        "numbers of a header may be any",
        "tracekit/points.py",
        "Whole = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]",
        "Whole = int",
        "test_security",
    ),
    _fault(
        "a trace is taken apart with eval",
        _FORGIVE,
        "    number = int(value)\n",
        "    number = eval(value)\n",
        "test_security",
    ),
    _fault(
        "the server answers to any host",
        "reports/perfetto.py",
        'if self.headers.get("Host") not in owner.hosts:',
        'if self.headers.get("Host") is None:',
        "reports/test_perfetto",
    ),
)
