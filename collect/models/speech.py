"""Speech and sound encoders over waveforms (HuBERT and its relatives) and mel spectrograms."""

from __future__ import annotations

from math import prod
from typing import Any

from . import costs
from .entry import (
    ANY_BACKEND,
    EAGER,
    EAGER_SDPA,
    MEL_RATE,
    SAMPLE_RATE,
    ModelEntry,
    Settings,
    encoder_cost,
    refuse_length,
)

# Training as it is measured: SpecAugment masks spans that short inputs have no room for, and layerdrop leaves out whole
# layers at random, so that steps would do different amounts of work.
_STEADY: dict[str, Any] = {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
_UNMASKED: dict[str, Any] = {**_STEADY, "apply_spec_augment": False}
_SIZES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_TINY_SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
# Seven convolutions from 16,000 samples a second to 49.95 frames: wav2vec 2.0's, and what came of it.
_STEM = {
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
}
_BASE = {**_SIZES, **_STEM, **_UNMASKED}
_TINY = {**_TINY_SIZES, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _frames(settings: Settings, seconds: float) -> int:
    """What leaves the last convolution; SEW joins every two of them."""
    left = costs.frames(_samples(seconds), settings["conv_kernel"], settings["conv_stride"])[-1]
    return left // int(settings.get("squeeze_factor", 1))


def _conv_cost(settings: Settings, seconds: float) -> float:
    """The convolutions, most of a short input's work, then the encoder."""
    sizes = settings["conv_kernel"], settings["conv_stride"], settings["conv_dim"]
    return costs.conv_stem(_samples(seconds), *sizes) + encoder_cost(settings, _frames(settings, seconds))


def _waveform(name: str, source: str, **options: Any) -> ModelEntry:
    """An entry of a model that begins as wav2vec 2.0 does, and is that but for `options`."""

    def fit(settings: Settings, seconds: float) -> dict[str, Any]:
        if not _frames(settings, seconds):
            one = costs.receptive_field(settings["conv_kernel"], settings["conv_stride"])
            least = one + (settings.get("squeeze_factor", 1) - 1) * prod(settings["conv_stride"])
            why = f"its convolutions need {least} samples to make a frame"
            raise refuse_length(name, seconds, [least / SAMPLE_RATE], why, "seconds")
        return {}

    chosen = {"architecture": name, "base": _BASE, "tiny": _TINY, "attention": ANY_BACKEND, "local": True, **options}
    return ModelEntry(
        name=name,
        source=source,
        family="speech",
        modality="speech",
        inputs="waveform",
        fit=fit,
        tokens=_frames,
        cost=_conv_cost,
        **chosen,
    )


def _mel_frames(seconds: float) -> int:
    return round(seconds * MEL_RATE)


def _whisper(_settings: Settings, seconds: float) -> dict[str, Any]:
    """Its input must fill its positions exactly, two frames to each."""
    frames = _mel_frames(seconds)
    if frames < 2 or frames % 2:
        nearest = sorted({max(frames - frames % 2, 2) / MEL_RATE, (frames + 2 - frames % 2) / MEL_RATE})
        raise refuse_length("whisper", seconds, nearest, "two mel frames of 10 ms make a position", "seconds")
    return {"max_source_positions": frames // 2}


def _whisper_cost(settings: Settings, seconds: float) -> float:
    sizes = settings["encoder_layers"], settings["d_model"], settings["encoder_ffn_dim"]
    return costs.transformer(_mel_frames(seconds) / 2, *sizes)


def _ast(settings: Settings, seconds: float) -> dict[str, Any]:
    """Its position table is of one length, in mel frames."""
    frames, patch = _mel_frames(seconds), int(settings["patch_size"])
    if frames < patch:
        why = f"its patches are {patch} mel frames of 10 ms wide"
        raise refuse_length("audio-spectrogram-transformer", seconds, [patch / MEL_RATE], why, "seconds")
    return {"max_length": frames}


def _ast_patches(settings: Settings, seconds: float) -> int:
    """Overlapping patches of time by frequency, and two tokens that stand for the whole."""
    patch = settings["patch_size"]
    across = (_mel_frames(seconds) - patch) // settings["time_stride"] + 1
    down = (settings["num_mel_bins"] - patch) // settings["frequency_stride"] + 1
    return int(across * down) + 2


ENTRIES = (
    _waveform("hubert", "Hsu et al. 2021, arXiv:2106.07447"),
    _waveform(
        "l-hubert",
        "HuBERT (Hsu et al. 2021, arXiv:2106.07447) under sliding-window attention",
        architecture="hubert",
        attention=("local:50",),
        baseline="hubert",
        note="HuBERT's weights; each frame attends to 50 frames (1 s) on each side: --attention local:W sets another W",
    ),
    _waveform("wav2vec2", "Baevski et al. 2020, arXiv:2006.11477"),
    _waveform(
        "wavlm",
        "Chen et al. 2022, arXiv:2110.13900",
        attention=EAGER,  # it takes any name, and runs its own all the same
        local=False,
        note="a gated position bias is added to its scores",
    ),
    _waveform("unispeech", "Wang et al. 2021, arXiv:2101.07597"),
    _waveform(
        "data2vec_audio",
        "Baevski et al. 2022, arXiv:2202.03555",
        architecture="data2vec-audio",
        base={**_SIZES, **_STEM, **_STEADY},
    ),
    _waveform(
        "wav2vec2_conformer",
        "Gulati et al. 2020, arXiv:2005.08100; Wang et al. 2020, arXiv:2010.05171",
        architecture="wav2vec2-conformer",
        attention=EAGER_SDPA,  # flex_attention is accepted, and fails on its position bias
        local=False,
        tiny={**_TINY, "conv_depthwise_kernel_size": 7},
        note="at HuBERT's size (published: 24 layers of 1,024); relative positions; two feed-forwards and a "
        "convolution a layer",
    ),
    _waveform(
        "sew",
        "Wu et al. 2022, arXiv:2109.06870",
        base={
            **_BASE,
            "hidden_size": 512,
            "num_attention_heads": 8,
            "intermediate_size": 2048,
            "conv_dim": [64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512],
            "conv_kernel": [10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
            "conv_stride": [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
            "squeeze_factor": 2,
        },
        tiny={**_TINY, "conv_dim": [32] * 13},
        baseline="hubert",
        note="SEW-small: half as many frames for attention, a narrower encoder and stem than HuBERT's",
    ),
    ModelEntry(
        name="whisper",
        architecture="whisper",
        source="Radford et al. 2022, arXiv:2212.04356",
        family="speech",
        modality="speech",
        inputs="mel",
        attention=ANY_BACKEND,
        base={
            "d_model": 512,
            "encoder_layers": 6,
            "encoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "num_mel_bins": 80,
        },
        tiny={"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128},
        local=True,
        fit=_whisper,
        tokens=lambda _settings, seconds: _mel_frames(seconds) // 2,
        cost=_whisper_cost,
        model_class="transformers.models.whisper.modeling_whisper:WhisperEncoder",
        note="the encoder alone; as published it pads every input to 30 s: here its positions are raised or cut to the "
        "input",
    ),
    ModelEntry(
        name="audio-spectrogram-transformer",
        architecture="audio-spectrogram-transformer",
        source="Gong et al. 2021, arXiv:2104.01778",
        family="speech",
        modality="speech",
        inputs="mel",
        attention=ANY_BACKEND,
        base={**_SIZES, "num_mel_bins": 128, "patch_size": 16, "time_stride": 10, "frequency_stride": 10},
        tiny={**_TINY_SIZES, "num_mel_bins": 32},
        local=True,
        fit=_ast,
        tokens=_ast_patches,
        cost=lambda settings, seconds: encoder_cost(settings, _ast_patches(settings, seconds)),
        note="as published it pads every input to 10.24 s: here its positions are raised or cut to the input; 12 "
        "patches of frequency to each 0.1 s, so that a local window is one over patches, not over time",
    ),
)
