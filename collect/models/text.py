"""Text encoders: BERT and its relatives, and the efficient-attention variants measured against BERT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .entry import ModelEntry, Settings, refuse_length

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_ANY_BACKEND = ("sdpa", "eager", "flex_attention")


def positions(extra: int = 0) -> Callable[[Settings, int], dict[str, Any]]:
    """Position tables hold at least `length + extra` rows (RoBERTa's begin after the padding index)."""

    def fit(settings: Settings, length: int) -> dict[str, Any]:
        return {"max_position_embeddings": max(length + extra, settings.get("max_position_embeddings", 512))}

    return fit


def _nystromformer(settings: Settings, length: int) -> dict[str, Any]:
    landmarks = int(settings.get("num_landmarks", 64))
    if length % landmarks:
        below = length // landmarks * landmarks
        why = f"lengths are multiples of its {landmarks} landmarks"
        raise refuse_length("nystromformer", length, [below, below + landmarks], why)
    return {**positions(2)(settings, length), "segment_means_seq_len": length}


def _longformer_window(settings: Settings, length: int) -> int:
    """Longformer attends to 1.5 windows a token, and pads short inputs to a whole window."""
    return round(1.5 * int(settings["attention_window"]))


ENTRIES = (
    ModelEntry(
        name="bert",
        architecture="bert",
        source="Devlin et al. 2019, arXiv:1810.04805",
        attention=_ANY_BACKEND,
        base=_BASE,
        tiny=_TINY,
        fit=positions(),
    ),
    ModelEntry(
        name="roberta",
        architecture="roberta",
        source="Liu et al. 2019, arXiv:1907.11692",
        attention=_ANY_BACKEND,
        base=_BASE,
        tiny=_TINY,
        fit=positions(2),
    ),
    ModelEntry(
        name="electra",
        architecture="electra",
        source="Clark et al. 2020, arXiv:2003.10555",
        attention=_ANY_BACKEND,
        base={**_BASE, "embedding_size": 768},
        tiny={**_TINY, "embedding_size": 64},
        fit=positions(),
    ),
    ModelEntry(
        name="longformer",
        architecture="longformer",
        source="Beltagy et al. 2020, arXiv:2004.05150",
        attention=("eager",),
        base={**_BASE, "attention_window": 512},
        tiny={**_TINY, "attention_window": 32},
        baseline="bert",
        fit=positions(2),
        window=_longformer_window,
        note="window 512, no global attention (the default of transformers); pads inputs to whole windows",
    ),
    ModelEntry(
        name="nystromformer",
        architecture="nystromformer",
        source="Xiong et al. 2021, arXiv:2102.03902",
        attention=("eager",),
        base={**_BASE, "num_landmarks": 64},
        tiny={**_TINY, "num_landmarks": 16, "conv_kernel_size": 5},
        baseline="bert",
        fit=_nystromformer,
        window=lambda settings, _length: 4 * int(settings["num_landmarks"]),
        note="64 landmarks; lengths are multiples of them",
    ),
)
