"""Text encoders with an efficient stand-in for full attention; each is measured against a vanilla one of its size."""

from __future__ import annotations

from math import ceil
from typing import Any

from .costs import gated, seeing, transformer
from .entry import (
    ANY_BACKEND,
    EAGER,
    ModelEntry,
    Settings,
    any_length,
    at_least,
    check_multiple,
    encoder_cost,
    refuse_length,
)
from .text import AFTER_PADDING, BASE, POSITIONS, T5_BASE, T5_TINY, TINY


def _without_heads(sizes: Settings) -> dict[str, Any]:
    return {key: value for key, value in sizes.items() if key != "num_attention_heads"}


def _padded(settings: Settings, length: float) -> int:
    """Longformer and LED pad inputs to whole windows."""
    window = int(settings["attention_window"])
    return ceil(length / window) * window


def _longformer_cost(settings: Settings, length: float) -> float:
    """Chunks overlap, so that each token is scored against 1.5 windows."""
    return encoder_cost(settings, _padded(settings, length), settings["attention_window"] * 1.5)


def _led(settings: Settings, length: float) -> dict[str, Any]:
    """What pads inputs to whole windows has a position as well."""
    return at_least("max_encoder_position_embeddings", 16_384)(settings, _padded(settings, length))


def _led_cost(settings: Settings, length: float) -> float:
    sizes = settings["encoder_layers"], settings["d_model"], settings["encoder_ffn_dim"]
    return transformer(_padded(settings, length), *sizes, settings["attention_window"] * 1.5)


def _nystromformer(settings: Settings, length: float) -> dict[str, Any]:
    """Lengths are whole multiples of the landmarks, and more than one: at one it turns into full attention."""
    landmarks = int(settings["num_landmarks"])
    why = f"its lengths are 2, 3, ... times its {landmarks} landmarks"
    check_multiple("nystromformer", length, landmarks, why, least=2)
    return {**AFTER_PADDING(settings, length), "segment_means_seq_len": int(length)}


def _big_bird_tokens(settings: Settings, length: float) -> int:
    """Inputs are padded to whole blocks, but for those so short that it turns into full attention."""
    block, random = int(settings["block_size"]), int(settings["num_random_blocks"])
    sparse = length > (5 + 2 * random) * block
    return ceil(length / block) * block if sparse else int(length)


def _big_bird(settings: Settings, length: float) -> dict[str, Any]:
    return at_least("max_position_embeddings", 4096)(settings, _big_bird_tokens(settings, length))


def _big_bird_cost(settings: Settings, length: float) -> float:
    """A block is scored against its neighbours, the first, the last and the random ones."""
    tokens, random = _big_bird_tokens(settings, length), settings["num_random_blocks"]
    full = length <= (5 + 2 * random) * settings["block_size"]
    return encoder_cost(settings, tokens, None if full else (5 + random) * settings["block_size"])


def _reformer(settings: Settings, length: float) -> dict[str, Any]:
    """Whole chunks, for padded inputs do not train, and more than one: at one it turns into full attention.

    Its position table is a grid, whose sides must multiply to the length when it trains.
    """
    chunk = int(settings["lsh_attn_chunk_length"])
    why = f"its lengths are 2, 3, ... times its chunks of {chunk}"
    check_multiple("reformer", length, chunk, why, least=2)
    return {"axial_pos_shape": [int(length) // chunk, chunk], "max_position_embeddings": int(length)}


def _reformer_cost(settings: Settings, length: float) -> float:
    layers, hidden, ffn = len(settings["attn_layers"]), settings["hidden_size"], settings["feed_forward_size"]
    return transformer(length, layers, hidden, ffn, 2 * settings["lsh_attn_chunk_length"])


def _funnel(settings: Settings, length: float) -> dict[str, Any]:
    """Each block but the first halves the tokens, and the last must be left more than one."""
    blocks = len(settings["block_sizes"])
    least = 2 ** (blocks - 1) + 1
    if length < least:
        raise refuse_length("funnel", length, [least], f"its {blocks} blocks halve the tokens")
    return any_length(settings, length)


def _funnel_cost(settings: Settings, length: float) -> float:
    """Each block halves the tokens; the decoder works on all of them again."""
    blocks = [*settings["block_sizes"], settings["num_decoder_layers"]]
    tokens = [*(length / 2**block for block in range(len(blocks) - 1)), length]
    sizes = settings["d_model"], settings["d_inner"]
    return sum(transformer(n, layers, *sizes) for n, layers in zip(tokens, blocks, strict=True))


def _canine(settings: Settings, length: float) -> dict[str, Any]:
    """Its table of character positions has as many rows as hash buckets."""
    least = int(settings["downsampling_rate"])
    if length < least:
        raise refuse_length("canine", length, [least], f"{least} characters make a position of its deep stack")
    rows = max(int(length), 16_384)
    return {"max_position_embeddings": rows, "num_hash_buckets": rows}


def _canine_cost(settings: Settings, length: float) -> float:
    """A local layer before and one after the deep stack, which sees every fourth position."""
    ends = {**settings, "num_hidden_layers": 2}
    deep = encoder_cost(settings, length / settings["downsampling_rate"])
    return deep + encoder_cost(ends, length, settings["local_transformer_stride"])


def _longt5_cost(settings: Settings, length: float) -> float:
    sizes = settings["num_layers"], settings["d_model"], 1.5 * settings["d_ff"]
    seen = 3 * (settings["local_radius"] + 1) + length / settings["global_block_size"]
    return transformer(length, *sizes, seen)


ENTRIES = (
    ModelEntry(
        name="modernbert",
        architecture="modernbert",
        source="Warner et al. 2024, arXiv:2412.13663",
        attention=ANY_BACKEND,
        base={**BASE, "num_hidden_layers": 22, "intermediate_size": 1152, "local_attention": 128},
        tiny={**TINY, "local_attention": 32},
        baseline="bert",
        local=True,
        windowed=True,
        fit=at_least("max_position_embeddings", 8192),
        cost=gated,
        note="22 layers where BERT has 12; a window of 128 (64 on each side) in two of three layers",
    ),
    ModelEntry(
        name="longformer",
        architecture="longformer",
        source="Beltagy et al. 2020, arXiv:2004.05150",
        attention=EAGER,
        base={**BASE, "attention_window": 512},
        tiny={**TINY, "attention_window": 32},
        baseline="bert",
        fit=AFTER_PADDING,
        cost=_longformer_cost,
        note="window 512; no global attention, the default of transformers; pads inputs to whole windows",
    ),
    ModelEntry(
        name="led",
        architecture="led",
        source="Beltagy et al. 2020, arXiv:2004.05150",
        attention=EAGER,
        base={
            "d_model": 768,
            "encoder_layers": 12,
            "encoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "attention_window": 1024,
        },
        tiny={
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "attention_window": 32,
        },
        baseline="bert",
        fit=_led,
        cost=_led_cost,
        model_class="transformers.models.led.modeling_led:LEDEncoder",
        note="the encoder alone, with BERT's 12 layers (published: 6); window 1,024; pads inputs to whole windows",
    ),
    ModelEntry(
        name="nystromformer",
        architecture="nystromformer",
        source="Xiong et al. 2021, arXiv:2102.03902",
        attention=EAGER,
        base={**BASE, "num_landmarks": 64},
        tiny={**TINY, "num_landmarks": 16, "conv_kernel_size": 5},
        baseline="bert",
        fit=_nystromformer,
        cost=seeing(lambda settings: 4 * settings["num_landmarks"]),
        note="64 landmarks; lengths are multiples of them",
    ),
    ModelEntry(
        name="big_bird",
        architecture="big_bird",
        source="Zaheer et al. 2020, arXiv:2007.14062",
        attention=EAGER,
        base={**BASE, "attention_type": "block_sparse", "block_size": 64, "num_random_blocks": 3},
        tiny={**TINY, "block_size": 16, "num_random_blocks": 1},
        baseline="bert",
        fit=_big_bird,
        tokens=_big_bird_tokens,
        cost=_big_bird_cost,
        note="full attention up to 704 tokens, (5 + 2 * 3 random blocks) * 64: shorter inputs say nothing of its "
        "sparsity",
    ),
    ModelEntry(
        name="reformer",
        architecture="reformer",
        source="Kitaev et al. 2020, arXiv:2001.04451",
        attention=EAGER,
        base={
            "hidden_size": 768,
            "attn_layers": ["local", "lsh"] * 6,
            "num_attention_heads": 12,
            "feed_forward_size": 3072,
            "axial_pos_embds_dim": [256, 512],
            "lsh_attn_chunk_length": 64,
            "local_attn_chunk_length": 64,
        },
        tiny={
            "hidden_size": 64,
            "attn_layers": ["local", "lsh"],
            "num_attention_heads": 4,
            "attention_head_size": 16,
            "feed_forward_size": 128,
            "axial_pos_embds_dim": [16, 48],
            "lsh_attn_chunk_length": 16,
            "local_attn_chunk_length": 16,
        },
        baseline="bert",
        fit=_reformer,
        cost=_reformer_cost,
        note="at BERT's size, which is none of the paper's; local and hashed attention alternate, one round of "
        "hashing; lengths are multiples of its chunks of 64",
    ),
    ModelEntry(
        name="fnet",
        architecture="fnet",
        source="Lee-Thorp et al. 2021, arXiv:2105.03824",
        attention=EAGER,
        base=_without_heads(BASE),
        tiny=_without_heads(TINY),
        baseline="bert",
        fit=POSITIONS,
        cost=seeing(lambda _settings: 64),
        note="Fourier transforms mix the tokens, in the place of attention",
    ),
    ModelEntry(
        name="yoso",
        architecture="yoso",
        source="Zeng et al. 2021, arXiv:2111.09714",
        attention=EAGER,
        # its hashing, `use_expectation` false, is a CUDA kernel that is compiled when a GPU is there: without it
        # transformers does not fall back, it fails
        base=BASE,
        tiny=TINY,
        baseline="bert",
        fit=at_least("max_position_embeddings", 4096),
        note="the expectation of its hashing, transformers' default and all that runs without its CUDA kernel: as "
        "quadratic as BERT; --set yoso.use_expectation=false on a GPU makes it linear",
    ),
    ModelEntry(
        name="funnel",
        architecture="funnel",
        source="Dai et al. 2020, arXiv:2006.03236",
        attention=EAGER,
        base={
            "d_model": 768,
            "block_sizes": [4, 4, 4],
            "num_decoder_layers": 2,
            "n_head": 12,
            "d_head": 64,
            "d_inner": 3072,
        },
        tiny={
            "d_model": 64,
            "block_sizes": [1, 1],
            "block_repeats": [1, 1],
            "num_decoder_layers": 1,
            "n_head": 4,
            "d_head": 16,
            "d_inner": 128,
        },
        baseline="bert",
        fit=_funnel,
        cost=_funnel_cost,
        model_class="FunnelModel",  # AutoModel asks its config for architectures, and it names none
        note="B4-4-4: each block of 4 layers halves the tokens; a decoder of 2 layers brings them back",
    ),
    ModelEntry(
        name="convbert",
        architecture="convbert",
        source="Jiang et al. 2020, arXiv:2008.02496",
        attention=EAGER,
        base={**BASE, "embedding_size": 768, "head_ratio": 2, "conv_kernel_size": 9},
        tiny={**TINY, "embedding_size": 64},
        baseline="bert",
        fit=POSITIONS,
        note="half of its heads are convolutions; the others see all",
    ),
    ModelEntry(
        name="squeezebert",
        architecture="squeezebert",
        source="Iandola et al. 2020, arXiv:2006.11316",
        attention=EAGER,
        base={**BASE, "embedding_size": 768},
        tiny={**TINY, "embedding_size": 64},
        baseline="bert",
        fit=POSITIONS,
        note="grouped convolutions in the place of linear layers; attention is full",
    ),
    ModelEntry(
        name="canine",
        architecture="canine",
        source="Clark et al. 2022, arXiv:2103.06874",
        attention=EAGER,
        base={**BASE, "downsampling_rate": 4, "local_transformer_stride": 128},
        tiny={**TINY, "local_transformer_stride": 32},
        baseline="bert",
        fit=_canine,
        cost=_canine_cost,
        note="its tokens are characters: about four to one of BERT's; the deep stack sees every fourth position",
    ),
    ModelEntry(
        name="longt5",
        architecture="longt5",
        source="Guo et al. 2022, arXiv:2112.07916",
        attention=EAGER,
        base={
            **T5_BASE,
            "encoder_attention_type": "transient-global",
            "local_radius": 127,
            "global_block_size": 16,
        },
        tiny={**T5_TINY, "local_radius": 15},
        baseline="t5",
        model_class="LongT5EncoderModel",
        cost=_longt5_cost,
        note="the encoder alone, with transient global attention (one position for each 16 tokens); "
        "--set longt5.encoder_attention_type=local has none",
    ),
)
