"""Local attention: the kernel against full attention under a band mask, models against themselves, and refusals."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.collect.models.local import is_local, window
from tracekit.errors import UsageError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers import AttentionInterface, AttentionMaskInterface  # noqa: E402
from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402
from transformers.masking_utils import sdpa_mask  # noqa: E402

from tracekit.collect import attention as module  # noqa: E402
from tracekit.collect.attention import backend_calls, implementation, local_attention  # noqa: E402
from tracekit.collect.functions import attention_backends  # noqa: E402
from tracekit.collect.memory import host_peak_bytes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of transformers and torch are not ours to mend

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
}
SPEECH: dict[str, Any] = {
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "layerdrop": 0.0,
    "feat_proj_dropout": 0.0,
    "apply_spec_augment": False,
}
DECODER: dict[str, Any] = {**TINY, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256}


def built(kind: str, attention: str, dtype: Any = torch.float32, **settings: Any) -> Any:
    """A tiny model with the weights of a fixed seed."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings)
    config.dtype = dtype
    model_class = getattr(transformers, f"{kind}Model")
    return model_class._from_config(config, attn_implementation=attention, dtype=dtype).eval()


def band(n: int, reach: int, causal: bool) -> Any:
    distance = torch.arange(n)[:, None] - torch.arange(n)
    return (distance <= reach) & (distance >= (0 if causal else -reach))


def by_brute_force(q: Any, k: Any, v: Any, reach: int, causal: bool, valid: Any) -> Any:
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    seen = band(q.shape[2], reach, causal) & valid[:, None, None, :]
    scores = (q @ k.transpose(2, 3) * 0.3).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1).nan_to_num() @ v).transpose(1, 2)


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-5)])
@given(
    n=st.integers(1, 300),
    reach=st.integers(0, 150),
    batch=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]),
    causal=st.booleans(),
    padding=st.sampled_from(["none", "right", "left", "holes"]),
    seed=st.integers(0, 2**16),
)
def test_equals_full_attention_under_a_band_mask(
    dtype: str, close: float, n: int, reach: int, batch: int, heads: Any, causal: bool, padding: str, seed: int
) -> None:
    torch.manual_seed(seed)
    shapes = [(batch, h, n, 8) for h in (heads[0], heads[1], heads[1])]
    q, k, v = (torch.randn(shape, dtype=getattr(torch, dtype), requires_grad=True) for shape in shapes)
    valid = torch.ones(batch, n, dtype=torch.bool)
    if padding == "holes":
        valid = torch.rand(batch, n) < 0.5
    elif padding != "none":
        valid = torch.arange(n) < torch.randint(1, n + 1, (batch, 1))
        valid = valid.flip(1) if padding == "left" else valid
    shown = None if padding == "none" else valid
    got = local_attention(q, k, v, reach, causal=causal, valid=shown, scaling=0.3)
    assert torch.isfinite(got).all()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:  # then it takes the input piece by piece
        patch.setattr(module, "_PIECE", 64)
        pieces = local_attention(q, k, v, reach, causal=causal, valid=shown, scaling=0.3)
    torch.testing.assert_close(pieces, got.detach(), rtol=0, atol=close)
    want = by_brute_force(q, k, v, reach, causal, valid)
    weight = torch.randn_like(want) * valid[:, :, None, None]  # padding rows mean nothing
    torch.testing.assert_close(got * valid[:, :, None, None], want * valid[:, :, None, None], rtol=0, atol=close)
    gradients = torch.autograd.grad(got, (q, k, v), weight)
    for mine, reference in zip(gradients, torch.autograd.grad(want, (q, k, v), weight), strict=True):
        torch.testing.assert_close(mine, reference, rtol=10 * close, atol=10 * close)


def test_bfloat16_and_dropout() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 100, 16) for _ in range(3))
    half = local_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), 7)
    assert half.dtype == torch.bfloat16
    exact = local_attention(q, k, v, 7)
    torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.05)
    many = torch.stack([local_attention(q, k, v, 7, dropout=0.2) for _ in range(400)])
    assert (many[0] - exact).abs().max() > 0.1
    assert (many.mean(0) - exact).abs().mean() < 0.05


def reference(reach: int) -> str:
    """A backend of full attention under the band mask that transformers' own functions make."""
    name = f"test_band_{reach}"

    def mask(*args: Any, mask_function: Any, **kwargs: Any) -> Any:
        within = lambda b, h, q, k: mask_function(b, h, q, k) & ((q - k).abs() <= reach)  # noqa: E731
        return sdpa_mask(*args, mask_function=within, **{**kwargs, "allow_is_bidirectional_skip": False})

    AttentionInterface.register(name, sdpa_attention_forward)
    AttentionMaskInterface.register(name, mask)
    return name


def run_with_gradients(model: Any, inputs: dict[str, Any], frames: Any) -> tuple[Any, Any]:
    out = model(**inputs).last_hidden_state * frames[:, :, None]
    out.square().mean().backward()
    return out.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("reach", [1, 9, 40])
@pytest.mark.parametrize("lengths", [(1200, 1200), (1200, 470)])
def test_hubert_is_hubert_under_a_band_mask(dtype: Any, close: float, reach: int, lengths: Any) -> None:
    ours, theirs = (
        built("Hubert", name, dtype, **TINY, **SPEECH) for name in (implementation(f"local:{reach}"), reference(reach))
    )
    samples = torch.arange(1200) < torch.tensor(lengths)[:, None]
    inputs = {"input_values": torch.randn(2, 1200, dtype=dtype) * samples, "attention_mask": samples.long()}
    frames = ours._get_feature_vector_attention_mask(119, inputs["attention_mask"])
    got, got_gradients = run_with_gradients(ours, inputs, frames)
    want, want_gradients = run_with_gradients(theirs, inputs, frames)
    torch.testing.assert_close(got, want, rtol=0, atol=close)
    for mine, other in zip(got_gradients, want_gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=10 * close, atol=10 * close)


def test_a_window_over_the_whole_input_is_plain_hubert_and_weights_are_its_own() -> None:
    plain = built("Hubert", "sdpa", **TINY, **SPEECH)
    local = built("Hubert", implementation("local:118"), **TINY, **SPEECH)  # 119 frames
    narrow = built("Hubert", implementation("local:5"), **TINY, **SPEECH)
    for model in (local, narrow):
        model.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(2, 1200)
    with torch.inference_mode():
        assert torch.equal(local(x).last_hidden_state, plain(x).last_hidden_state)
        assert not torch.allclose(narrow(x).last_hidden_state, plain(x).last_hidden_state, atol=1e-3)


SLIDING: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("Mistral", {**DECODER, "sliding_window": 12}),
    "modernbert": (
        "ModernBert",
        {**TINY, "num_hidden_layers": 4, "local_attention": 16, "max_position_embeddings": 256, "pad_token_id": 0},
    ),
    "gemma3": ("Gemma3Text", {**DECODER, "sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"]}),
    "qwen2": ("Qwen2", {**DECODER, "use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}),
}


def sides_of_padding(side: str) -> Any:
    shown = torch.arange(70) < torch.tensor([70, 41])[:, None]
    return {"none": torch.ones_like(shown), "right": shown, "left": shown.flip(1)}[side]


@pytest.mark.parametrize("side", ["none", "right", "left"])
@pytest.mark.parametrize("name", SLIDING)
def test_a_models_own_window_made_real_is_what_transformers_computes(name: str, side: str) -> None:
    kind, settings = SLIDING[name]
    ids, shown = torch.randint(1, 100, (2, 70)), sides_of_padding(side)
    out = []
    for attention in ("sdpa", implementation("local")):
        model = built(kind, attention, **settings)
        with torch.inference_mode():
            out.append(model(input_ids=ids, attention_mask=shown.long()).last_hidden_state * shown[:, :, None])
    torch.testing.assert_close(out[1], out[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("asked", "same"), [("local:3", 4), ("local:30", 12)])
def test_the_smaller_window_holds(asked: str, same: int) -> None:
    ids = torch.randint(1, 100, (2, 70))
    narrow = built("Mistral", implementation(asked), **DECODER, sliding_window=12)
    theirs = built("Mistral", "sdpa", **DECODER, sliding_window=same)
    with torch.inference_mode():
        torch.testing.assert_close(narrow(ids).last_hidden_state, theirs(ids).last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("left", [0, 15])
@pytest.mark.parametrize(("kind", "attention"), [("Llama", "local:6"), ("Mistral", "local"), ("Mistral", "local:40")])
def test_decoding_with_a_cache_is_the_whole_input_at_once(kind: str, attention: str, left: int) -> None:
    model = built(kind, implementation(attention), **DECODER, **({"sliding_window": 9} if kind == "Mistral" else {}))
    ids, shown = torch.randint(1, 100, (2, 40)), torch.ones(2, 40, dtype=torch.long)
    shown[1, :left] = 0
    with torch.inference_mode():
        whole = model(ids, attention_mask=shown, position_ids=torch.arange(40)[None]).last_hidden_state
        begun = model(ids[:, :25], attention_mask=shown[:, :25], position_ids=torch.arange(25)[None], use_cache=True)
        cache = begun.past_key_values
        for at in range(25, 40):
            step = model(
                input_ids=ids[:, at : at + 1],
                attention_mask=shown[:, : at + 1],
                past_key_values=cache,
                position_ids=torch.tensor([[at]]),
            )
            torch.testing.assert_close(step.last_hidden_state[:, 0], whole[:, at], rtol=0, atol=1e-5)
        with pytest.raises(UsageError, match="pieces"):
            model(input_ids=ids[:, :2], past_key_values=cache)


SMALL_PAIR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "vocab_size": 100,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "t5": ("T5", {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}, {"decoder": 64}, "bias"),
    "t5 encoder": ("T5Encoder", {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}, {}, "bias"),
    "bart": ("Bart", SMALL_PAIR, {"decoder": 30}, "cross attention"),
    "bart, equally long": ("Bart", SMALL_PAIR, {"decoder": 64}, "cross attention"),
    "softcap": ("Gemma2", {**DECODER, "sliding_window": 8}, {}, "caps"),
    "sinks": ("GptOss", {**DECODER, "num_local_experts": 2, "num_experts_per_tok": 1}, {}, "sinks"),
    "window in the mask only": (
        "Qwen2Moe",
        {**DECODER, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0, "num_experts": 2},
        {},
        "mask only",
    ),
    "packed": ("Llama", DECODER, {"position_ids": torch.arange(64)[None] % 32, "use_cache": False}, "pattern"),
    "a mask of its own": ("Llama", DECODER, {"attention_mask": torch.zeros(1, 1, 64, 64)}, "mask of its own"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_it_would_compute_wrongly(case: str) -> None:
    kind, settings, extra, why = REFUSED[case]
    if kind == "T5Encoder":
        config = transformers.T5Config(**settings)
        model = transformers.T5EncoderModel._from_config(config, attn_implementation=implementation("local:4"))
    else:
        model = built(kind, implementation("local:4"), **settings)
    inputs = {"input_ids": torch.randint(1, 100, (1, 64)), **extra}
    if "decoder" in inputs:
        inputs["decoder_input_ids"] = torch.randint(1, 100, (1, inputs.pop("decoder")))
    with pytest.raises(UsageError, match=why), torch.inference_mode():
        model(**inputs)


@pytest.mark.parametrize("name", ["position_bias", "attention_bias", "head_mask", "softcap", "s_aux", "cache"])
def test_refuses_arguments_that_it_would_drop(name: str) -> None:
    q = torch.randn(1, 2, 40, 8)
    attend = attention_backends()[implementation("local:4")]
    attend(torch.nn.Linear(2, 2), q, q, q, None, is_causal=False, **{name: None})
    with pytest.raises(UsageError, match="Linear"):
        attend(torch.nn.Linear(2, 2), q, q, q, None, is_causal=False, **{name: torch.zeros(1)})


def test_names() -> None:
    assert [is_local(name) for name in ("local", "local:1", "local:256")] == [True] * 3
    assert (window("local"), window("local:256")) == (None, 256)
    for bad in ("local:0", "local:", "local:-1", "local:1.5", "sdpa", "local:x", "LOCAL", "local:\x1b[2J"):
        assert not is_local(bad)
        with pytest.raises(UsageError, match="local:W") as caught:
            implementation(bad)
        assert str(caught.value).isprintable()


def test_registering_twice_is_fine_also_under_a_counter() -> None:
    name = implementation("local:77")
    before = attention_backends()[name]
    with backend_calls(torch.nn.Linear(1, 1)):
        assert implementation("local:77") == name
    assert attention_backends()[name] is before


def test_memory_is_linear(tmp_path: Path) -> None:
    def peak(step: Any) -> int:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            step()
        profile.export_chrome_trace(str(tmp_path / "t.json"))
        return host_peak_bytes(tmp_path / "t.json")

    def forward(n: int, grad: bool) -> None:
        q, k, v = (torch.randn(1, n, 2, 16).transpose(1, 2).requires_grad_(grad) for _ in range(3))
        out = local_attention(q, k, v, 50)
        if grad:
            out.sum().backward()  # type: ignore[no-untyped-call]

    for grad in (False, True):
        short, long = (peak(partial(forward, n, grad)) for n in (2048, 4096))
        assert long <= 2.1 * short
        assert long < 4096 * 4096, "less than one byte a score"


def test_counts_what_ran() -> None:
    bert = built("Bert", "sdpa", **TINY)
    ids = torch.randint(1, 100, (1, 16))
    with torch.inference_mode(), backend_calls(bert) as calls:
        bert(ids)
    assert dict(calls) == {"sdpa": 2}
    bert.set_attn_implementation("eager")
    with torch.inference_mode(), backend_calls(bert) as calls:
        bert(ids)
    assert dict(calls) == {"eager": 2}
    name = implementation("local:5")
    hubert = built("Hubert", name, **TINY, **SPEECH)
    with torch.inference_mode(), backend_calls(hubert) as calls:
        hubert(torch.randn(1, 1200))
    assert dict(calls) == {name: 2}


def test_counts_nothing_where_the_name_is_ignored() -> None:
    wavlm = built("WavLM", "eager", **TINY, **SPEECH)
    wavlm.config._attn_implementation = "sdpa"
    with torch.inference_mode(), backend_calls(wavlm) as calls:
        wavlm(torch.randn(1, 1200))
    assert calls["sdpa"] == 0


def test_a_counter_puts_everything_back_after_an_error() -> None:
    bert = built("Bert", "sdpa", **TINY)
    functions = vars(sys.modules[type(bert).__module__])
    before = dict(attention_backends()), dict(functions)

    class PlantedError(Exception):
        pass

    with pytest.raises(PlantedError), backend_calls(bert):
        assert dict(attention_backends()) != before[0]
        raise PlantedError
    assert (dict(attention_backends()), dict(functions)) == before
