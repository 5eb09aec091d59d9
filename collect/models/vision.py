"""Vision encoders: one resolution throughout, as ViT, or a hierarchy of stages."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

from . import costs
from .entry import ANY_BACKEND, EAGER, EAGER_SDPA, ModelEntry, Settings, check_multiple, encoder_cost, refuse_length

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
# Mix Transformer B5 and PVTv2-B5: of their sizes those nearest ViT-B.
_PYRAMID: dict[str, Any] = {
    "hidden_sizes": [64, 128, 320, 512],
    "depths": [3, 6, 40, 3],
    "num_attention_heads": [1, 2, 5, 8],
    "mlp_ratios": [4, 4, 4, 4],
    "sr_ratios": [8, 4, 2, 1],
}
_PYRAMID_TINY: dict[str, Any] = {
    "hidden_sizes": [16, 32, 48, 64],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 3, 4],
}


def _whole(name: str, *, resize: bool) -> Callable[[Settings, float], dict[str, Any]]:
    """Images of at least one patch; `resize`: the position table is of one image size."""

    def fit(settings: Settings, pixels: float) -> dict[str, Any]:
        patch = int(settings["patch_size"])
        if pixels < patch:
            raise refuse_length(name, pixels, [patch], f"its patches are {patch} pixels wide", "pixels")
        return {"image_size": int(pixels)} if resize else {}

    return fit


def _patches(special: int) -> Callable[[Settings, float], int]:
    """Whole patches (what is left of an image is cut off), and `special` tokens that stand for all of it."""

    def tokens(settings: Settings, pixels: float) -> int:
        return (int(pixels) // int(settings["patch_size"])) ** 2 + special

    return tokens


def _vit(name: str, source: str, special: int = 1, **options: Any) -> ModelEntry:
    """An entry of a model that is ViT but for `options`."""
    tokens = _patches(special)
    chosen: dict[str, Any] = {
        "attention": ANY_BACKEND,
        "base": {**_BASE, "patch_size": 16},
        "tiny": _TINY,
        "local": True,
        "cost": lambda settings, pixels: encoder_cost(settings, tokens(settings, pixels)),
        **options,
    }
    return ModelEntry(
        name=name,
        architecture=name,
        source=source,
        family="vision",
        modality="image",
        inputs="image",
        fit=_whole(name, resize=True),
        tokens=tokens,
        **chosen,
    )


def _swin(settings: Settings, pixels: float) -> dict[str, Any]:
    """Whole windows in the last stage too: transformers builds its position biases for no smaller ones."""
    merges, window, patch = len(settings["depths"]) - 1, settings["window_size"], settings["patch_size"]
    side = window
    for _ in range(merges):
        side = 2 * side - 1  # merging halves and rounds up
    least = (side - 1) * patch + 1
    if pixels < least:
        why = f"its last stage must hold a window of {window} x {window} patches"
        raise refuse_length("swin", pixels, [least], why, "pixels")
    return {}


def _swin_tokens(settings: Settings, pixels: float) -> int:
    """Patches of the first stage, before they are padded to whole windows."""
    return int(ceil(pixels / settings["patch_size"]) ** 2)


def _swin_cost(settings: Settings, pixels: float) -> float:
    depths, window = settings["depths"], settings["window_size"]
    side = ceil(pixels / settings["patch_size"] / window) * window
    widths = [settings["embed_dim"] * 2**stage for stage in range(len(depths))]
    return costs.stages(side**2, depths, widths, [window**2] * len(depths))


def _pyramid_tokens(_settings: Settings, pixels: float) -> int:
    """Overlapping patches of the first stage, a quarter of the image's side each way."""
    return ceil(pixels / 4) ** 2


def _pyramid_cost(settings: Settings, pixels: float) -> float:
    """Keys and values of a stage are reduced by its ratio squared."""
    tokens = _pyramid_tokens(settings, pixels)
    attended = [tokens / 4**stage / ratio**2 for stage, ratio in enumerate(settings["sr_ratios"])]
    return costs.stages(tokens, settings["depths"], settings["hidden_sizes"], attended)


def _hiera(settings: Settings, pixels: float) -> dict[str, Any]:
    """Whole mask units: 8 patches of stride 4 each way."""
    check_multiple("hiera", pixels, 32, "its lengths are multiples of 32, the side of a mask unit", "pixels")
    return {"image_size": [int(pixels), int(pixels)]}


def _hiera_cost(settings: Settings, pixels: float) -> float:
    """The first two stages attend within mask units, the rest to all."""
    tokens = (pixels / 4) ** 2
    depths = settings["depths"]
    widths = [settings["embed_dim"] * 2**stage for stage in range(len(depths))]
    attended = [(64.0, 16.0)[stage] if stage < 2 else tokens / 4**stage for stage in range(len(depths))]
    return costs.stages(tokens, depths, widths, attended)


def _stages(name: str, source: str, **options: Any) -> ModelEntry:
    """An entry of a hierarchical model, measured against ViT."""
    return ModelEntry(
        name=name,
        architecture=name,
        source=source,
        family="vision",
        modality="image",
        inputs="image",
        baseline="vit",
        **options,
    )


_SWIN = {"patch_size": 4, "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}
_SWIN_TINY = {"embed_dim": 32, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}

ENTRIES = (
    _vit("vit", "Dosovitskiy et al. 2021, arXiv:2010.11929"),
    _vit("deit", "Touvron et al. 2021, arXiv:2012.12877", 2),
    _vit(
        "beit",
        "Bao et al. 2022, arXiv:2106.08254",
        attention=EAGER_SDPA,
        base={**_BASE, "patch_size": 16, "use_relative_position_bias": True},
        local=False,
        note="a relative position bias is added to its scores, as published",
    ),
    _vit(
        "dinov2",
        "Oquab et al. 2023, arXiv:2304.07193",
        base={"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4, "patch_size": 14},
        tiny={"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2},
    ),
    _stages(
        "swin",
        "Liu et al. 2021, arXiv:2103.14030",
        attention=EAGER_SDPA,
        base={**_SWIN, "window_size": 7},
        tiny=_SWIN_TINY,
        fit=_swin,
        tokens=_swin_tokens,
        cost=_swin_cost,
        note="Swin-B; attention within windows of 7 x 7 patches; pads each stage to whole windows",
    ),
    _stages(
        "swinv2",
        "Liu et al. 2022, arXiv:2111.09883",
        attention=EAGER,
        base={**_SWIN, "window_size": 8},
        tiny=_SWIN_TINY,
        fit=_whole("swinv2", resize=False),
        tokens=_swin_tokens,
        cost=_swin_cost,
        note="SwinV2-B; attention within windows of 8 x 8 patches; pads each stage to whole windows",
    ),
    _stages(
        "pvt_v2",
        "Wang et al. 2022, arXiv:2106.13797",
        attention=EAGER,
        base=_PYRAMID,
        tiny=_PYRAMID_TINY,
        tokens=_pyramid_tokens,
        cost=_pyramid_cost,
        note="B5; keys and values are reduced 64-fold in the first stage, so that attention is quadratic still",
    ),
    _stages(
        "segformer",
        "Xie et al. 2021, arXiv:2105.15203",
        attention=ANY_BACKEND,
        base=_PYRAMID,
        tiny=_PYRAMID_TINY,
        tokens=_pyramid_tokens,
        cost=_pyramid_cost,
        note="the encoder alone, MiT-B5; keys and values are reduced 64-fold in the first stage",
    ),
    _stages(
        "hiera",
        "Ryali et al. 2023, arXiv:2306.00989",
        attention=EAGER,
        base={"embed_dim": 96, "depths": [2, 3, 16, 3], "num_heads": [1, 2, 4, 8]},
        tiny={
            "embed_dim": 32,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "num_query_pool": 1,
            "masked_unit_attention": [True, False],
        },
        fit=_hiera,
        tokens=lambda _settings, pixels: (int(pixels) // 4) ** 2,
        cost=_hiera_cost,
        note="Hiera-B; attention within mask units in the first two stages; lengths are multiples of 32",
    ),
)
