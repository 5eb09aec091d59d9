"""FLOPs and bytes of an operator from its recorded input shapes.

Multiply-adds count as two. Counted are matrix products, convolutions, fused attention and Fourier transforms, as
torch.utils.flop_counter does where it can (torch 2.13's own counter misses fused attention on a CPU, and no exporter
writes it); causal attention counts as full. Bytes are what must be read and written once, caches aside: inputs and
outputs of the formulas below, element-wise operators included. No formula: null, which is not zero.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from .events import Int64s
from .ranges import ancestor


class Call(NamedTuple):
    """One operator's recorded inputs: a shape and a type each; `values` are those given as text (scalars, lists)."""

    shapes: list[Any]
    dtypes: list[str]
    values: list[str]

    def size(self, index: int) -> int:
        """Bytes of one element of an input."""
        return _ELEMENT_BYTES[self.dtypes[index]]

    def bytes(self, index: int) -> int:
        """Bytes of an input; 0 where it is no tensor."""
        shape = self.shapes[index]
        return math.prod(shape) * self.size(index) if shape or self.dtypes[index] in _ELEMENT_BYTES else 0


Cost = tuple[int | None, int | None]  # FLOPs, bytes

_ELEMENT_BYTES = {
    **dict.fromkeys(("double", "long int", "long", "c10::complex<float>"), 8),
    **dict.fromkeys(("float", "int"), 4),
    **dict.fromkeys(("c10::Half", "c10::BFloat16", "short", "c10::complex<c10::Half>"), 2),
    **dict.fromkeys(("bool", "unsigned char", "signed char", "c10::Float8_e4m3fn", "c10::Float8_e5m2"), 1),
    "c10::complex<double>": 16,
}


def costs(name: str, shapes: str | None, dtypes: str | None, values: str | None = None) -> Cost:
    """FLOPs and bytes of one call from what the trace recorded of it (JSON text); None where they cannot be told."""
    formula = _FORMULAS.get(name)
    if formula is None or shapes is None:
        return None, None
    try:
        call = Call([_shape(one) for one in json.loads(shapes)], json.loads(dtypes or "[]"), json.loads(values or "[]"))
        return formula(call)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):  # a stranger's shapes
        return None, None


def _ints(value: Any) -> list[int]:
    """A list of whole numbers and nothing else: any other value times a large number would fill the memory.

    Raises ValueError.
    """
    if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
        raise ValueError("no list of whole numbers")
    return value


def _shape(value: Any) -> list[int] | None:
    """One input's shape; None for what is no single tensor (lists of tensors)."""
    try:
        return _ints(value)
    except ValueError:
        return None


def operator_costs(operators: pl.DataFrame, parent: Int64s) -> pl.DataFrame:
    """Columns flops and bytes (int64, null where unknown) of operators whose nesting is `parent`.

    Of nested operators that both have a formula (convolution, cudnn_convolution) the innermost counts; but a copy or a
    fill within one that has a formula is its way of working (addmm copies its bias into its output), and no bytes more.
    """
    keys = operators.select("name", "shapes", "dtypes", "concrete")
    distinct = keys.unique(maintain_order=True)
    rows = [(*_within_int64(costs(*row)), row[0] in _PREPARE) for row in distinct.iter_rows()]
    schema = {"flops": pl.Int64, "bytes": pl.Int64, "prepares": pl.Boolean}
    table = distinct.hstack(pl.DataFrame(rows, schema=schema, orient="row"))
    found = keys.join(table, on=keys.columns, how="left", maintain_order="left", nulls_equal=True)
    worker = found.select((pl.col("flops").is_not_null() | pl.col("bytes").is_not_null()) & ~pl.col("prepares"))
    within = ancestor(parent, worker.to_series(), outermost=False) >= 0
    found = found.with_columns(bytes=pl.when(~(pl.col("prepares") & pl.Series(within))).then("bytes"))
    return found.select(_innermost(found[column], parent) for column in ("flops", "bytes"))


def _innermost(known: pl.Series, parent: Int64s) -> pl.Series:
    """Forget what is known of an operator that encloses another of which it is known."""
    marked = known.is_not_null()
    nearest = np.append(ancestor(parent, marked, outermost=False), -1)  # position -1: no parent
    enclosing = nearest[parent[marked.to_numpy()]]
    return known.scatter(enclosing[enclosing >= 0], None)


def _within_int64(cost: Cost) -> Cost:
    flops, size = (value if value is not None and 0 <= value < 1 << 62 else None for value in cost)
    return flops, size


# -- formulas


def _matrix(left: int, right: int) -> Callable[[Call], Cost]:
    """A (batched) matrix product of inputs `left` and `right`; what stands before `left` is added to it."""

    def formula(call: Call) -> Cost:
        a, b = call.shapes[left], call.shapes[right]
        columns = b[-1] if len(b) > 1 else 1
        rows = math.prod(a[:-1])
        out = rows * columns * call.size(left)
        return 2 * rows * a[-1] * columns, sum(map(call.bytes, range(right + 1))) + out

    return formula


def _linear(call: Call) -> Cost:
    x, weight = call.shapes[0], call.shapes[1]
    rows = math.prod(x[:-1])
    out = rows * weight[0] * call.size(0)
    return 2 * rows * math.prod(weight), sum(map(call.bytes, range(len(call.shapes)))) + out


def _attention(call: Call) -> Cost:
    """Fused attention on [batch, heads, length, width]: queries by keys, scores by values."""
    q, k, v = call.shapes[:3]
    rows = math.prod(q[:-1])
    flops = 2 * rows * k[-2] * (q[-1] + v[-1])
    return flops, sum(map(call.bytes, range(3))) + rows * v[-1] * call.size(0)


def _attention_backward(call: Call) -> Cost:
    """Inputs: gradient, queries, keys, values, output. Three products by the width of keys, two by that of values."""
    q, k, v = call.shapes[1:4]
    flops = 2 * math.prod(q[:-1]) * k[-2] * (3 * q[-1] + 2 * v[-1])
    return flops, sum(map(call.bytes, range(5))) + sum(map(math.prod, (q, k, v))) * call.size(1)


def _convolution(stride: int, padding: int, dilation: int, transposed: int = 0) -> Callable[[Call], Cost]:
    """A convolution of input 0 [batch, channels, ...] with weight 1 (channels by group); positions of its settings."""

    def formula(call: Call) -> Cost:
        x, weight = call.shapes[0], call.shapes[1]
        kernel, space = weight[2:], x[2:]
        if transposed and call.values[transposed] == "True":
            flops = 2 * math.prod(x) * math.prod(weight[1:])
            return flops, None  # its output's size also hangs on output_padding
        settings = (_spread(call.values[at], len(space)) for at in (stride, padding, dilation))
        out = [
            (size + 2 * pad - dilate * (width - 1) - 1) // step + 1
            for size, width, step, pad, dilate in zip(space, kernel, *settings, strict=True)
        ]
        result = x[0] * weight[0] * math.prod(out)
        moved = call.bytes(0) + call.bytes(1) + result * call.size(0)
        return 2 * result * math.prod(weight[1:]), moved

    return formula


def _convolution_backward(call: Call) -> Cost:
    gradient, x, weight = call.shapes[:3]
    wanted = _ints(json.loads(call.values[-1].lower()))[
        :2
    ]  # gradients of input and weight, each the cost of the forward
    flops = 2 * math.prod(gradient) * math.prod(weight[1:]) * sum(wanted)
    written = (math.prod(x) * wanted[0] + math.prod(weight) * wanted[1]) * call.size(0)
    return flops, sum(map(call.bytes, range(3))) + written


def _fourier(call: Call) -> Cost:
    """5 N log2 N for complex, half of it for real to complex (Cooley and Tukey)."""
    shape, along = call.shapes[0], _ints(json.loads(call.values[1]))
    points = math.prod(shape)
    real = "complex" not in call.dtypes[0]
    flops = (2.5 if real else 5) * points * math.log2(max(2, math.prod(shape[d] for d in along)))
    return round(flops), 2 * call.bytes(0)


def _elementwise(call: Call) -> Cost:
    """Read every input, write the largest once."""
    return None, sum(map(call.bytes, range(len(call.shapes)))) + max(map(call.bytes, range(len(call.shapes))))


def _reduction(call: Call) -> Cost:
    """Read every input; what is written is small."""
    return None, sum(map(call.bytes, range(len(call.shapes))))


def _lookup(call: Call) -> Cost:
    """Rows of input 0 by the numbers in input 1."""
    rows = math.prod(call.shapes[1]) * call.shapes[0][-1] * call.size(0)
    return None, call.bytes(1) + 2 * rows


def _index_select(call: Call) -> Cost:
    """What input 0 has at the places in input 2, along a dimension."""
    shape, along = call.shapes[0], int(call.values[1])
    chosen = math.prod(call.shapes[2]) * math.prod(shape) // shape[along] * call.size(0)
    return None, call.bytes(2) + 2 * chosen


def _spread(text: str, dimensions: int) -> list[int]:
    """One setting for all dimensions, or one each."""
    given = _ints(json.loads(text))
    return given * dimensions if len(given) == 1 else given


_ELEMENTWISE = re.findall(
    r"\S+",
    """
    _fused_rms_norm _log_softmax _log_softmax_backward_data _softmax _softmax_backward_data abs add add_ addcdiv_
    addcmul_ bitwise_and bitwise_not bitwise_or clamp clamp_min copy_ cos cudnn_batch_norm cudnn_batch_norm_backward
    cumsum div div_ eq erf exp fill_ flip floor_divide ge gelu gelu_backward gt hardtanh le leaky_relu lerp_ log
    logical_and logical_not lt masked_fill masked_fill_ maximum minimum miopen_batch_norm miopen_batch_norm_backward
    mul mul_ native_batch_norm native_batch_norm_backward native_dropout native_group_norm native_layer_norm
    native_layer_norm_backward ne neg pow reciprocal relu relu_ rsqrt rsub sigmoid sigmoid_backward silu silu_
    silu_backward sin sqrt square sub sub_ tanh tanh_backward threshold_backward tril triu where zero_
    """,
)
_PREPARE = ("aten::copy_", "aten::fill_")
_FUSED = ("flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention")

_FORMULAS: dict[str, Callable[[Call], Cost]] = {
    **{f"aten::{name}": _elementwise for name in _ELEMENTWISE},
    **{f"aten::{name}": _reduction for name in ("amax", "amin", "argmax", "max", "mean", "min", "sum", "var_mean")},
    "aten::embedding": _lookup,
    "aten::index_select": _index_select,
    **{f"aten::{name}": _matrix(0, 1) for name in ("mm", "bmm", "mv", "dot")},
    **{f"aten::{name}": _matrix(1, 2) for name in ("addmm", "addmm_", "baddbmm", "baddbmm_", "addbmm", "addmv")},
    "aten::_addmm_activation": _matrix(1, 2),
    **dict.fromkeys(("aten::linear", "aten::mkldnn_linear", "mkldnn::_linear_pointwise"), _linear),
    **{f"aten::_scaled_dot_product_{kind}": _attention for kind in _FUSED},
    **{f"aten::_scaled_dot_product_{kind}_backward": _attention_backward for kind in _FUSED},
    "aten::convolution": _convolution(3, 4, 5, transposed=6),
    "aten::_convolution": _convolution(3, 4, 5, transposed=6),
    "aten::mkldnn_convolution": _convolution(4, 3, 5),
    "aten::cudnn_convolution": _convolution(3, 2, 4),
    "aten::miopen_convolution": _convolution(4, 3, 5),
    "aten::convolution_backward": _convolution_backward,
    **{f"aten::{name}": _fourier for name in ("_fft_c2c", "_fft_r2c", "_fft_c2r")},
}
