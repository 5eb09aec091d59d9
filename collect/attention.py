"""Sliding-window attention, linear in length, as a backend for any transformers model that takes one.

`local:W` lets each position attend to W positions on each side (causal models: to W before it); `local` makes the
sliding window that a model already has real, which under eager and sdpa is only a mask over all scores. Weights are
the model's own. Where the result could not be right (a position bias, cross attention, a mask with a pattern of its
own) it raises UsageError instead.

    model = AutoModel.from_config(config, attn_implementation=implementation("local:50"))
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tracekit.errors import UsageError
from tracekit.safety import sanitize

from .functions import EAGER, Function, attention_backends, namespaces, wrap
from .models.local import is_local, window

# sdpa's CPU kernel takes so many rows at a time; blocks of other sizes leave a remainder, and take up to 1.6x longer.
_TILE = 32
_PIECE = 1024  # positions
_NOBODY = -1  # the batch entry that padding belongs to
# What models hand to an attention function beyond queries, keys, values and padding, and a window cannot honour.
_REFUSED = {
    **dict.fromkeys(("position_bias", "attention_bias", "relative_position_bias"), "it has a position bias"),
    **dict.fromkeys(("s_aux", "sinks"), "its softmax has attention sinks"),
    **dict.fromkeys(("indices", "block_indices"), "it chooses its keys by itself"),
    **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), "sequences are packed"),
    "softcap": "it caps the scores",
    "head_mask": "heads are masked",
    "cache": "its cache is paged",
}
_CROSS = "queries and keys are not of the same positions (cross attention, a static cache, or a prompt in pieces)"
# Patterns of transformers' masks that position, window and padding say all of; others are packed, chunked, prefixes.
_PLAIN = {
    "causal_mask_function",
    "bidirectional_mask_function",
    "sliding_window_overlay.<locals>.inner_mask",
    "sliding_window_bidirectional_overlay.<locals>.inner_mask",
}


def implementation(name: str) -> str:
    """Register the attention called `name` (`local:W` or `local`) and return what to give as `attn_implementation`.

    Raises UsageError for another name.
    """
    if not is_local(name):
        raise UsageError(f"no local attention is called '{sanitize(name)}': local:W with W >= 1, or local")
    reach = window(name)
    internal = "tracekit_local" if reach is None else f"tracekit_local_{reach}"
    if internal not in attention_backends():  # else it may be wrapped just now, by `annotate`
        AttentionInterface.register(internal, partial(_attend, reach))
        # without a mask function of the same name transformers would ignore padding silently
        AttentionMaskInterface.register(internal, _padding)
    return internal


def local_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    reach: int,
    *,
    causal: bool = False,
    valid: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention of each position to those at most `reach` positions away, time and memory linear in length.

    `query` is [batch, heads, length, D], `key` and `value` have as many heads or a divisor of them; `valid`
    [batch, length] is False at padding. Returns [batch, length, heads, D]. Padding rows are finite and mean nothing.

    The batch is laid end to end and cut into blocks. The keys that a block can see are one strided window, which
    overlaps its neighbours' without a copy, so one call of sdpa does many blocks, with those as its batch.
    """
    batch, heads, length, _ = query.shape
    block = _TILE * max(1, -(-reach // (2 * _TILE)))  # smaller: fewer scores for nothing; larger: fewer copies backward
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))  # [batch * length, heads, D]
    owner = torch.arange(batch, device=q.device).repeat_interleave(length)
    key_owner = owner if valid is None else owner.where(valid.flatten(), _NOBODY)
    row = _Row(q, k, v, owner, key_owner, block=block, before=reach, after=0 if causal else reach)
    if q.device.type != "cpu" or (torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))):
        out = row.attend(0, len(q), scaling, dropout)  # a piece's backward would make gradients of the whole row
    else:  # pieces so small that keys are hardly copied, and memory just freed is used again
        out = q.new_empty(len(q), heads, v.shape[2])
        piece = max(block, _PIECE // block * block)
        for start in range(0, len(q), piece):
            stop = min(start + piece, len(q))
            out[start:stop] = row.attend(start, stop, scaling, dropout)
    return out.view(batch, length, heads, v.shape[2])


@dataclass(frozen=True)
class _Row:
    """Positions in a row, [positions, heads, D]; of each the batch entry; what a block sees before and after itself."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    owner: torch.Tensor
    key_owner: torch.Tensor
    block: int
    before: int
    after: int

    def attend(self, start: int, stop: int, scaling: float | None, dropout: float) -> torch.Tensor:
        """The result for the positions from `start`, which begins a block, to `stop`: [positions, heads, D]."""
        end = stop + (start - stop) % self.block
        heads, kv_heads = self.q.shape[1], self.k.shape[1]
        # heads that share keys become rows of one block, so that keys need not be repeated
        rows = _cut(self.q, start, end).view(-1, self.block, kv_heads, heads // kv_heads, self.q.shape[2])
        out = scaled_dot_product_attention(
            rows.transpose(1, 2).flatten(2, 3),
            self._windows(self.k, start, end).transpose(2, 3),
            self._windows(self.v, start, end).transpose(2, 3),
            attn_mask=self._mask(start, end).repeat_interleave(rows.shape[3], dim=2),
            dropout_p=dropout,
            scale=scaling,
        )
        out = out.reshape(-1, kv_heads, self.block, rows.shape[3], self.v.shape[2]).transpose(1, 2)
        return out.reshape(end - start, heads, -1)[: stop - start]

    def _windows(self, x: torch.Tensor, start: int, end: int, fill: int = 0) -> torch.Tensor:
        """What each block sees of [positions, ...]: overlapping views [blocks, ..., window]."""
        seen = _cut(x, start - self.before, end + self.after, fill)
        return seen.unfold(0, self.before + self.block + self.after, self.block)

    def _mask(self, start: int, end: int) -> torch.Tensor:
        """Which keys of its window a position sees: bool [blocks, 1, block, window], those near of its batch entry.

        Each sees itself, padding or not: a row that saw nothing would be 0/0.
        """
        at = torch.arange(self.block, device=self.q.device)[:, None]
        away = torch.arange(-self.before, self.block + self.after, device=self.q.device) - at
        near = (away >= -self.before) & (away <= self.after)
        own = _cut(self.owner, start, end).view(-1, self.block, 1)
        same = self._windows(self.key_owner, start, end, _NOBODY)[:, None] == own
        return (same & near | (away == 0))[:, None]


def _cut(x: torch.Tensor, start: int, stop: int, fill: int = 0) -> torch.Tensor:
    """`x[start:stop]`, and `fill` for what is outside."""
    outside = (max(-start, 0), max(stop - len(x), 0))
    inside = x[max(start, 0) : stop]
    return pad(inside, (0, 0) * (x.ndim - 1) + outside, value=fill) if any(outside) else inside


def _attend(
    reach: int | None,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function as transformers calls it; `attention_mask` comes from `_padding`."""
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)  # as sdpa's own function
    _refuse(module, query, key, attention_mask, causal, more)
    reach = _smaller(reach, module, more)
    length = key.shape[2]
    if reach is not None and query.shape[2] == length and reach < length - 1:
        options: dict[str, Any] = {"causal": causal, "valid": attention_mask, "scaling": scaling, "dropout": dropout}
        return local_attention(query, key, value, reach, **options), None
    if reach is not None and query.shape[2] == 1:
        key, value = key[:, :, -reach - 1 :], value[:, :, -reach - 1 :]
        attention_mask = None if attention_mask is None else attention_mask[:, -reach - 1 :]
    mask = None if attention_mask is None else _square(attention_mask, causal and query.shape[2] > 1)
    done: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, mask, dropout=dropout, scaling=scaling, is_causal=causal
    )
    return done


def _square(valid: torch.Tensor, causal: bool) -> torch.Tensor:
    """The mask of full attention: bool, [batch, 1, 1 or length, length]."""
    shown = valid[:, None, None, :]
    if not causal:
        return shown
    itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)  # as in `_Row._mask`
    return shown & torch.ones_like(itself).tril() | itself


def _smaller(reach: int | None, module: torch.nn.Module, more: Mapping[str, Any]) -> int | None:
    """Positions seen on each side: what was asked for or the layer's own window, the smaller; None for all."""
    own = more.get("sliding_window")
    if "sliding_window" not in more and getattr(getattr(module, "config", None), "sliding_window", None) is not None:
        raise _refusal(module, "its window is in its mask only, and its attention is not told of it")
    # transformers counts the position itself: |i - j| < sliding_window
    known = [one for one in (reach, None if own is None else int(own) - 1) if one is not None]
    return min(known, default=None)


def _refuse(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    more: Mapping[str, Any],
) -> None:
    """Raise UsageError for what this attention would compute wrongly."""
    for name, why in _REFUSED.items():
        if more.get(name) is not None:
            raise _refusal(module, why)
    same = query.shape[2] == key.shape[2]
    decodes = causal and query.shape[2] == 1
    if _is_cross(module, causal) or not (same or decodes):
        raise _refusal(module, _CROSS)
    if mask is not None and (mask.dtype != torch.bool or mask.shape != (key.shape[0], key.shape[2])):
        raise _refusal(module, "it brings a mask of its own, which may be more than padding")


def _is_cross(module: torch.nn.Module, causal: bool) -> bool:
    """Whether a layer attends to another sequence, which shapes do not show where both are equally long."""
    told = "Cross" in type(module).__name__ or bool(getattr(module, "is_cross_attention", False))
    return told or (bool(getattr(module, "is_decoder", False)) and not causal)  # as in BART


def _padding(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor | None:
    """The mask function as transformers calls it: bool [batch, keys], False at padding; None where there is none."""
    if int(q_offset) + q_length != kv_offset + kv_length:
        raise _refusal(None, _CROSS)
    if mask_function is not None and not _patterns(mask_function) <= _PLAIN:
        raise _refusal(None, "its mask has a pattern of its own (packed or chunked sequences, prefixes, images)")
    if attention_mask is None:
        return None
    if attention_mask.ndim != 2:
        raise _refusal(None, "its mask is more than padding")
    seen = attention_mask[:, kv_offset : kv_offset + kv_length]
    valid = pad(seen, (0, kv_length - seen.shape[1]))
    return None if bool(valid.all()) else valid


def _patterns(mask_function: Callable[..., Any]) -> set[str]:
    """The functions that a mask function of transformers is the intersection of, by name."""
    name = getattr(mask_function, "__qualname__", "")
    if name != "and_masks.<locals>.and_mask":
        return {name}
    parts = inspect.getclosurevars(mask_function).nonlocals["mask_functions"]
    return set().union(*(_patterns(part) for part in parts))


def _refusal(module: torch.nn.Module | None, why: str) -> UsageError:
    who = "this model" if module is None else type(module).__name__
    return UsageError(f"local attention would be wrong in {sanitize(who)}: {why}")


@contextmanager
def backend_calls(model: torch.nn.Module) -> Iterator[Counter[str]]:
    """Count the calls of each attention function by its name (`eager`, `sdpa`, ...) while `model` runs.

    A model may accept the name of an attention and run another (WavLM does): then its count stays 0. All functions are
    put back on exit, also after an error.
    """
    calls: Counter[str] = Counter()

    def counted(name: str, function: Function) -> Function:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return inner

    with ExitStack() as stack:
        for namespace in namespaces(model):
            wrap(stack, namespace, lambda name, function: counted("eager", function) if name == EAGER else None)
        wrap(stack, attention_backends(), counted)
        yield calls
