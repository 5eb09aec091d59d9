"""What the ranges of a trace mark: components, layers and phases.

A trace has, in this order of trust: tracekit's own annotations (judged where the modules were), `nn.Module:` frames
(taken with stacks; judged by class name, outside-in), annotations that the user wrote (judged by their text), nothing.
Rules that the user gives (`--components`) speak before ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tracekit.components import COMPONENTS, LAYER_RANGE, PHASE_RANGE, RANGE_PREFIX, is_layer, judge, parse_range
from tracekit.rules import NO_RULES, Rules

from .events import Int64s
from .nest import sweep

MODULE_PREFIX = "nn.Module: "
STEP_PREFIX = "ProfilerStep#"
OPTIMIZER_PREFIX = "Optimizer."
NO_MODULES = "no_modules"  # the part of what is unattributed because the file says nothing of modules
# Annotations that torch itself writes around a user's loop: they mark no part of a model.
_TORCH_WRITES = (
    rf"^({STEP_PREFIX}|{OPTIMIZER_PREFIX}|DistributedDataParallel\.|FullyShardedDataParallel\.|FSDP::|DataParallel\.|nccl:"
    r"|gloo:|c10d::|enumerate\(DataLoader\)|## Call CompiledFxGraph|Torch-Compiled Region|CompiledFunction|TorchDynamo"
    r"|AOTDispatcher|Pregraph bytecode|PyTorch Profiler|Iteration Start)"
)
_Label = tuple[str | None, str | None, str | None, str | None, str | None]
_LABELS: dict[str, Any] = dict.fromkeys(("what", "component", "part", "layer", "phase"), pl.String)


@dataclass(frozen=True)
class Ranges:
    """The ranges of the most trusted kind that a trace has: "tracekit", "modules", "annotations", or "" for none.

    `frame`: row (of the host frame), thread, start_ns, end_ns, what (a component's range: anything else; or layer,
    phase), component, part, layer, phase; in the order of `nest.sweep_order`.
    """

    source: str
    frame: pl.DataFrame

    @property
    def modules(self) -> pl.DataFrame:
        """The ranges of the model and its parts: all but those of phases."""
        return self.frame.filter(pl.col("what") != PHASE_RANGE)


def find_ranges(host: pl.DataFrame, written: pl.DataFrame, modules: pl.DataFrame, rules: Rules = NO_RULES) -> Ranges:
    """The ranges of host events (with `row`), labelled.

    `written` are the annotations among them, names as text; `modules` has the ids of their module frames.
    """
    ours = written.filter(pl.col("name").str.starts_with(RANGE_PREFIX))
    if ours.height:
        return Ranges("tracekit", _annotation_labels(ours, rules))
    python = host.select("kind", "row", "name", "thread", "start_ns", "end_ns").filter(pl.col("kind") == "python")
    frames = python.drop("kind").filter(pl.col("name").cat.starts_with(MODULE_PREFIX))
    if frames.height:
        frames = frames.join(modules, on="row", how="left", maintain_order="left")
        return Ranges("modules", _module_labels(frames.with_columns(pl.col("name").cast(pl.String)), rules))
    users = written.filter(~pl.col("name").str.contains(_TORCH_WRITES))
    return Ranges("annotations" if users.height else "", _user_labels(users, rules))


def _annotation_labels(ranges: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """What each tracekit range marks. Model and layer ranges hold what no component claims: `other`."""

    def label(name: str) -> _Label:
        marked = parse_range(name)
        if marked is None:
            return (None,) * 5
        own = marked.what if marked.what in COMPONENTS else "other"
        component, part = rules.by_path(marked.path) or (own, marked.part)
        return marked.what, component, part, marked.path, marked.path

    return ranges.hstack(_judged(ranges.select("name"), label, _LABELS)).filter(pl.col("what").is_not_null())


def _module_labels(frames: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Components of `nn.Module:` frames: outside-in, the first match labels a subtree; only positional is split out.

    A user's rule holds at any depth: the innermost one wins over all of ours.
    """
    parent = sweep(frames).parent
    classes = frames.select(name=pl.col("name").str.strip_prefix(MODULE_PREFIX).str.replace(r"_\d+$", ""))

    def of_class(name: str) -> tuple[bool, str | None, str]:
        return (is_layer(name), *(rules.by_class(name) or (None, "")))

    own = _judged(classes, of_class, {"layer": pl.Boolean, "ruled": pl.String, "part": pl.String})
    in_layer = own["layer"].gather(nullable(parent)).fill_null(False)
    ours = _judged(
        classes.with_columns(in_layer=in_layer),
        lambda name, in_layer: (judge(name, in_layer=in_layer),),
        {"component": pl.String},
    )["component"]
    above = ancestor(parent, ours.is_not_null(), outermost=True)
    positional = ancestor(parent, (ours == "positional").fill_null(False), outermost=True)
    ruled = nullable(ancestor(parent, own["ruled"].is_not_null(), outermost=False))
    judged = ours.gather(nullable(np.where(positional >= 0, positional, above))).fill_null("other")
    return frames.with_columns(
        what=pl.when(own["layer"]).then(pl.lit(LAYER_RANGE)).otherwise(pl.lit("module")),
        component=own["ruled"].gather(ruled).fill_null(judged),
        part=own["part"].gather(ruled).fill_null(""),
        layer=_instance(frames),
        phase=pl.lit(None, dtype=pl.String),
    )


def _instance(frames: pl.DataFrame) -> pl.Expr:
    """A module's name with its counter; where two modules share it, with its id too."""
    bare = pl.col("name").str.strip_prefix(MODULE_PREFIX)
    ids = frames.group_by("name").agg(ids=pl.col("module_id").n_unique())
    shared = ids.filter(pl.col("ids") > 1)["name"].to_list()
    return pl.when(pl.col("name").is_in(shared)).then(pl.format("{} (id {})", bare, "module_id")).otherwise(bare)


def _user_labels(ranges: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Annotations by their text: a component where it is the name of one or of its modules; the text is the layer."""

    def label(name: str) -> _Label:
        words = name.strip("# ").replace(" ", "_")
        named = words.lower() if words.lower() in COMPONENTS else judge(words, words.lower())
        component, part = rules.by_annotation(name) or (named, "" if named else NO_MODULES)
        return LAYER_RANGE, component, part, name, None

    return ranges.hstack(_judged(ranges.select("name"), label, _LABELS))


def _judged(keys: pl.DataFrame, function: Callable[..., tuple[object, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    """`function` of the columns of every row, called once for each distinct row; its results as columns of `schema`."""
    distinct = keys.unique(maintain_order=True)
    values = pl.DataFrame([function(*row) for row in distinct.iter_rows()], schema=schema, orient="row")
    return keys.join(distinct.hstack(values), on=keys.columns, how="left", maintain_order="left").drop(keys.columns)


def ancestor(parent: Int64s, marked: pl.Series, outermost: bool) -> Int64s:
    """Of oneself and one's ancestors the outermost, or innermost, that is marked; -1 where none is.

    Pointer doubling: log(depth) rounds.
    """
    best = np.where(marked.to_numpy(), np.arange(len(parent)), -1)
    jump = parent.copy()
    while (jump >= 0).any():
        higher = np.where(jump >= 0, best[jump], -1)
        best = np.where((higher >= 0) if outermost else (best < 0), higher, best)
        jump = np.where(jump >= 0, jump[jump], -1)
    return best


def nullable(index: Int64s) -> pl.Series:
    """Row numbers with -1 as null, as `gather` wants them."""
    series = pl.Series(index)
    return series.set(series < 0, None).cast(pl.UInt32)
