"""Component names, their order and colours, and the rules from a module's class and name to its component.

The list is closed: every event belongs to one component, `unattributed` included. Parts (attention's projections, core
and mask) have a parent whose colour they tint. Collect judges live modules with `judge`; analyze uses the same rules by
class name for traces that hold only `nn.Module:` frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Okabe-Ito first (distinct under colour blindness), then tints for the rest. The order is the order of every legend.
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "embedding": "#E69F00",
        "positional": "#F0E442",
        "attention": "#0072B2",
        "ffn": "#009E73",
        "norm": "#CC79A7",
        "conv": "#56B4E9",
        "feature_extractor": "#8DD3E8",
        "downsample": "#A6761D",
        "head": "#D55E00",
        "loss": "#B2182B",
        "optimizer": "#6A3D9A",
        "other": "#999999",
        "unattributed": "#CFCFCF",
    }
)
COMPONENTS = tuple(COLOURS)
PART_COLOURS: Mapping[str, str] = MappingProxyType(
    {"attention.projections": "#6DB3DE", "attention.core": "#1B87C9", "attention.mask": "#B5D9EE"}
)
PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType({"attention": ("projections", "core", "mask")})
# Every label that a cost can be shown under, with its colour, in the order of every legend: parts before the rest of
# their parent, which keeps the parent's name.
PALETTE: Mapping[str, str] = MappingProxyType(
    {
        label: colour
        for component in COMPONENTS
        for label, colour in (
            *((f"{component}.{part}", PART_COLOURS[f"{component}.{part}"]) for part in PARTS.get(component, ())),
            (component, COLOURS[component]),
        )
    }
)

RANGE_PREFIX = "tracekit::"
MODEL_RANGE = "model"
LAYER_RANGE = "layer"
PHASE_RANGE = "phase"
MASK_RANGE = "mask"
ANNOTATIONS = ("components", "layers", "none")  # how finely ranges are opened


@dataclass(frozen=True)
class Range:
    """A range that collect opened: what it marks (a component, model, layer, phase), its part, and the module path."""

    what: str
    part: str
    path: str

    @property
    def name(self) -> str:
        """The name under which the profiler records this range."""
        part = f".{self.part}" if self.part else ""
        return f"{RANGE_PREFIX}{self.what}{part}#{self.path.replace('#', '%23')}"


_RANGE = re.compile(rf"{RANGE_PREFIX}([a-z_]+)(?:\.([a-z_]+))?#(.*)", re.DOTALL)


def parse_range(name: str) -> Range | None:
    """The range a recorded name stands for, or None when it is not one of ours.

    The mask functions that attention hides (`tracekit::mask#fn:...`) are the part `mask` of attention.
    """
    match = _RANGE.fullmatch(name)
    if not match:
        return None
    what, part, path = match[1], match[2] or "", match[3].replace("%23", "#")
    return Range("attention", "mask", path) if what == MASK_RANGE else Range(what, part, path)


# Component, pattern searched in the class name, pattern of the module's whole name within its parent.
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (
        "positional",
        r"Rotary|Position(al)?(Conv)?(Embedding|Encoding)|Relative\w*Bias|Axial|Sinusoidal",
        r"pos_conv_embed|position_embeddings?|embed_positions|rotary_emb|wpe|relative_attention_bias",
    ),
    ("head", r"Pooler|Head$|Classifier|Neck", r"pooler|lm_head|head|classifier|cls|score"),
    ("feature_extractor", r"FeatureEncoder|FeatureExtractor|Subsampling", r"feature_extractor"),
    ("downsample", r"PatchMerging|Downsample|Upsampling|AttentionSubsample", r"downsample|upsample"),
    (
        "embedding",
        r"Embeddings?$|PatchEmbed|FeatureProjection|ScaledWordEmbedding",
        r"embeddings?|embed_tokens|wte|shared|feature_projection",
    ),
    (
        "attention",
        r"Attention|FourierTransform|Mixer|Modulation|RecurrentBlock|\w+Pooling",
        r"attention|self_attn|attn|mixer|fourier|post_attention",
    ),
    ("conv", r"ConvolutionModule|InvertedResidual|ConvNextLayer|^(Lazy)?Conv(Transpose)?\dd$", r"conv_module"),
    (
        "ffn",
        # an activation that no other component holds (ALBERT's) stands between two halves of a feed-forward
        r"Intermediate|M(LP|lp)|FFN|FeedForward|DenseActDense|DenseGatedActDense|Experts|GELUActivation$",
        r"fc1|fc2|mlp|ffn|ffn_output|feed_forward|intermediate|activation_fn",
    ),
    ("loss", r"Loss$", r"loss(_fn|_func|_function)?|criterion"),
    # SqueezeBERT's ConvDropoutLayerNorm is a convolution above all: its name tells what for
    ("norm", r"(?<!Dropout)(Layer|RMS|Rms|Group|Batch)Norm(\dd)?$|RMSNorm", r"\w*(layer_?norm|norm\d?)|LayerNorm"),
)
# Loss functions are often called outside of every module, so their operators are known by name.
LOSS_OPERATORS = tuple(
    f"aten::{name}"
    for name in (
        *("binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy_loss"),
        *("ctc_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss"),
        *("multi_margin_loss", "multilabel_margin_loss", "nll_loss", "nll_loss2d", "nll_loss_nd", "poisson_nll_loss"),
        *("smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss"),
    )
)
_RULES = tuple((component, re.compile(classes), re.compile(names)) for component, classes, names in _PATTERNS)
_LAYER_CLASS = re.compile(r"(Layer|Block|SqueezeBertModule)$")


def judge(class_name: str, name: str = "", *, in_layer: bool = False) -> str | None:
    """The component of a module by its class, else by its own name in its parent; None when no rule speaks.

    `in_layer`: the module is a direct child of a layer; there, `BertOutput` and its like, or what is called `output`,
    are the second half of the feed-forward block. Callers walk outside-in: the first match labels a subtree, so that
    `attention.LayerNorm` inherits from its parent; only `positional` is split out of other components.
    """
    if in_layer and (class_name.endswith("Output") or name == "output"):
        return "ffn"
    for rules in (_RULES[:1], _RULES[1:]):  # positional by either before the rest: it is split out of embeddings
        for component, classes, _ in rules:
            if classes.search(class_name):
                return component
        for component, _, names in rules:
            if names.fullmatch(name):
                return component
    return None


def is_layer(class_name: str) -> bool:
    """Whether a class is a repeated block that holds components (`BertLayer`, `GPT2Block`; not `ConvNextLayer`)."""
    return bool(_LAYER_CLASS.search(class_name)) and judge(class_name) is None
