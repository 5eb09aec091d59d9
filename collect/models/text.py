"""Text encoders with full attention: BERT and its relatives, which the efficient ones are measured against."""

from __future__ import annotations

from .costs import by_names
from .entry import ANY_BACKEND, EAGER, EAGER_SDPA, ModelEntry, at_least

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
POSITIONS = at_least("max_position_embeddings", 512)
AFTER_PADDING = at_least("max_position_embeddings", 512, 2)  # RoBERTa's positions begin after the padding index
# T5 1.1, whose gated feed-forward LongT5 has too: what differs between the two is then attention alone
T5_BASE = {
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 12,
    "num_heads": 12,
    "feed_forward_proj": "gated-gelu",
}
T5_TINY = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}

ENTRIES = (
    ModelEntry(
        name="bert",
        architecture="bert",
        source="Devlin et al. 2019, arXiv:1810.04805",
        attention=ANY_BACKEND,
        base=BASE,
        tiny=TINY,
        local=True,
        fit=POSITIONS,
    ),
    ModelEntry(
        name="roberta",
        architecture="roberta",
        source="Liu et al. 2019, arXiv:1907.11692",
        attention=ANY_BACKEND,
        base=BASE,
        tiny=TINY,
        local=True,
        fit=AFTER_PADDING,
    ),
    ModelEntry(
        name="electra",
        architecture="electra",
        source="Clark et al. 2020, arXiv:2003.10555",
        attention=ANY_BACKEND,
        base={**BASE, "embedding_size": 768},
        tiny={**TINY, "embedding_size": 64},
        local=True,
        fit=POSITIONS,
    ),
    ModelEntry(
        name="albert",
        architecture="albert",
        source="Lan et al. 2020, arXiv:1909.11942",
        attention=ANY_BACKEND,
        base={**BASE, "embedding_size": 128},
        tiny={**TINY, "embedding_size": 32},
        local=True,
        fit=POSITIONS,
        note="its layers share their weights: fewer parameters than BERT, not less work",
    ),
    ModelEntry(
        name="distilbert",
        architecture="distilbert",
        source="Sanh et al. 2019, arXiv:1910.01108",
        attention=ANY_BACKEND,
        base={"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072},
        tiny={"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
        local=True,
        fit=POSITIONS,
        cost=by_names("dim", "hidden_dim", "n_layers"),
        note="6 layers where BERT has 12",
    ),
    ModelEntry(
        name="deberta_v2",
        architecture="deberta-v2",
        source="He et al. 2021, arXiv:2006.03654 and arXiv:2111.09543",
        attention=EAGER,
        # version 3, base: without these settings it would have no disentangled attention at all
        base={
            **BASE,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
        tiny={**TINY, "position_buckets": 16},
        fit=POSITIONS,
        note="DeBERTa-v3's settings; positions enter its scores as two more products",
    ),
    ModelEntry(
        name="mpnet",
        architecture="mpnet",
        source="Song et al. 2020, arXiv:2004.09297",
        attention=EAGER,
        base=BASE,
        tiny=TINY,
        fit=AFTER_PADDING,
        note="a position bias is added to its scores, so that it has no fused attention",
    ),
    ModelEntry(
        name="t5",
        architecture="t5",
        source="Raffel et al. 2020, arXiv:1910.10683",
        attention=EAGER_SDPA,  # flex_attention is accepted, and fails on its position bias
        base=T5_BASE,
        tiny=T5_TINY,
        model_class="T5EncoderModel",
        cost=by_names("d_model", "d_ff", "num_layers"),
        note="the encoder alone, of T5 1.1",
    ),
)
