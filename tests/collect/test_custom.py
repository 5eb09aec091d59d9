"""The user's own models: by file, module and folder, with random and with saved weights."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import tracekit as tk
from tracekit.collect import estimate, models
from tracekit.collect.models import custom
from tracekit.collect.models.entry import ModelEntry
from tracekit.collect.plan import Request, make, split_label
from tracekit.errors import UsageError
from tracekit.points import Identity

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tracekit.collect.models.build import Built, check_overrides  # noqa: E402
from tracekit.collect.session import Session  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

SOURCE = """
import torch

class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.mlp(x)

def own(width=16, depth=2):
    model = torch.nn.Sequential(*(Block(width) for _ in range(depth)))
    return model, lambda length, batch: torch.randn(batch, length, width)

def theirs(length, attention=None):
    from transformers import BertConfig, BertModel
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=50,
                        max_position_embeddings=length)
    return BertModel._from_config(config, attn_implementation=attention)

def sound():
    return torch.nn.Conv1d(1, 2, 9), lambda length, batch: (torch.randn(batch, 1, int(length * 1000)),)
sound.length_unit = "seconds"

def number():
    return 3

def sequence_first(length, batch):
    return torch.nn.Linear(4, 4), lambda length, batch: {"input": torch.randn(length, batch, 4)}

def nested(length, batch):
    class Sum(torch.nn.Module):
        def forward(self, xs):
            return xs[0] + xs[1]["b"]
    return Sum(), lambda length, batch: {"xs": [torch.ones(batch, length), {"b": torch.ones(batch, length)}]}

def of_no_length():
    return torch.nn.Linear(4, 4), torch.randn(2, 4)

def fixed_batch(length):
    return torch.nn.Linear(4, 4), torch.randn(1, length, 4)

def without_inputs():
    return torch.nn.Linear(2, 2)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that Python finds, `mine_installed.factories`."""
    folder = tmp_path / "path" / "mine_installed"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "factories.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(folder.parent)
    importlib.invalidate_caches()
    yield "mine_installed.factories"
    for name in [name for name in sys.modules if name.startswith("mine_installed")]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny BERT, saved as transformers does."""
    torch.manual_seed(7)
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=50
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def describe(spec: str) -> dict[str, Any]:
    return Session(Identity(model="m", architecture=spec, length=8, threads=1), 0).describe()


def entry(spec: str, pretrained: bool = False) -> ModelEntry:
    return models.described(spec, describe(spec), pretrained)


def built(spec: str, length: float = 8, **options: Any) -> Built:
    one = entry(spec, options.get("pretrained", False))
    given = {"attention": one.attention[0], "batch": 2, **options}
    made: Built = one.build()(one, Identity(model="m", architecture=one.name, length=length, **given), 0)
    return made


@pytest.mark.parametrize(
    ("spec", "label", "name"),
    [
        ("bert", "bert", "bert"),
        ("b=bert", "b", "bert"),
        ("hf:org/some-model.v2", "some-model-v2", "hf:org/some-model.v2"),
        ("big=hf:org/name", "big", "hf:org/name"),
        ("x/a=b/mine.py:make", "make", "x/a=b/mine.py:make"),
        ("pkg.mod:make", "make", "pkg.mod:make"),
    ],
)
def test_labels(spec: str, label: str, name: str) -> None:
    assert split_label(spec) == (label, name)


def test_what_is_a_custom_model() -> None:
    assert all(map(custom.is_custom, ("hf:bert", "hf:a/b", "a.b:c", "./x y.py:f", "C:/x.py:f", "a.b:c@0123abcd")))
    assert not any(map(custom.is_custom, ("bert", "l-hubert", "a:b:c", "a-b:c", "mine.py")))


def test_a_factory_in_a_file(source: Path) -> None:
    own = built(f"{source}:own", overrides={"width": 8})
    assert own().shape == (2, 8, 8)
    theirs = built(f"{source}:theirs", length=600, attention="sdpa")
    assert theirs()[0].shape == (2, 600, 32)
    assert theirs.model.config._attn_implementation == "sdpa"  # type: ignore[union-attr]
    sound = built(f"{source}:sound", length=0.5, dtype="float64")
    assert entry(f"{source}:sound").length_unit == "seconds"
    assert sound().shape == (2, 2, 492)
    assert sound().dtype == torch.float64


def test_inputs_of_other_batches_are_the_users_own(source: Path) -> None:
    assert built(f"{source}:sequence_first").of_batch(5)().shape == (8, 5, 4)
    nested = built(f"{source}:nested", dtype="bfloat16")
    assert nested().dtype == torch.bfloat16
    assert nested.input_bytes == 2 * 2 * 8 * 2
    assert nested.of_batch(3)().shape == (3, 8)
    one = built(f"{source}:fixed_batch", batch=1)
    with pytest.raises(UsageError, match="one batch alone"):
        one.of_batch(2)


def again(spec: str) -> str:
    """The name of a model in a process that has not met it yet."""
    code = (
        "from tracekit.collect.session import Session; from tracekit.points import Identity;"
        f"print(Session(Identity(model='m', architecture={spec!r}, length=8, threads=1, trust_remote_code=True), 0)"
        ".describe()['digest'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_what_was_edited_is_another_model(source: Path, folder: Path) -> None:
    (source.parent / "neighbour.py").write_text("WIDTH = 4")
    source.write_text("import neighbour\n" + SOURCE)
    first = again(f"{source}:own")
    assert again(f"{source}:own") == first
    (source.parent / "neighbour.py").write_text("WIDTH = 8")
    second = again(f"{source}:own")
    source.write_text("import neighbour\n# changed\n" + SOURCE)
    assert len({first, second, again(f"{source}:own")}) == 3
    saved = again(f"hf:{folder}")
    (folder / "modeling.py").write_text("pass")  # trusted code beside a config
    assert again(f"hf:{folder}") != saved
    assert custom.without_digest(f"{source}:own@{first}") == f"{source}:own"


def test_settings_of_which_others_follow() -> None:
    settings = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64}
    llama = built("hf:llama", overrides={**settings, "num_key_value_heads": 4})
    assert llama.model.model.layers[0].self_attn.q_proj.weight.shape == (64, 64)  # type: ignore[union-attr,index]


def test_fewer_layers_than_a_folder_says(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64}
    config = transformers.Gemma3TextConfig(**sizes, num_hidden_layers=3, head_dim=16, vocab_size=50)
    config.save_pretrained(tmp_path / "saved")
    less = built(f"hf:{tmp_path / 'saved'}", overrides={"num_hidden_layers": 2})
    assert len(less.model.model.layers) == len(less.model.config.layer_types) == 2  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neo", "llama", "lxmert", "gemma3n_text"])
def test_strange_configs_can_be_planned(kind: str) -> None:
    one = entry(f"hf:{kind}")
    identity = Identity(model="m", architecture=one.name, length=64, attention=one.attention[0])
    assert estimate.seconds(one, identity, 1e9) > 0
    assert estimate.disk_bytes(one, identity) > 0


def test_code_that_comes_along_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    (remote / "code.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nraise ImportError"
    )
    config = {"model_type": "bert", "auto_map": {"AutoModel": "code.Mine", "AutoConfig": "code.Config"}}
    (remote / "config.json").write_text(json.dumps(config))
    for trust in (False, True):
        code = (
            "from tracekit.points import Identity; from tracekit.collect.session import Session;"
            f"Session(Identity(model='m', architecture='hf:{remote}', length=8, threads=1, attention='sdpa',"
            f" trust_remote_code={trust}), 0).prepare()"
        )
        env = {**os.environ, "HF_HOME": str(tmp_path / "home")}  # where transformers copies code to
        subprocess.run(
            [sys.executable, "-c", code], input="y\n" * 9, capture_output=True, text=True, check=False, env=env
        )
        assert bool(list(tmp_path.rglob("ran"))) == trust


def test_a_label_that_a_baseline_has(folder: Path, tmp_path: Path) -> None:
    spec = f"bert=hf:{folder}"
    models.add(f"hf:{folder}", entry(f"hf:{folder}"))
    with pytest.raises(UsageError, match="'bert' is a baseline of this sweep too"):
        make(Request(["longformer", spec], lengths=[64]), tmp_path)


def test_a_source_that_changed_since_the_plan(source: Path) -> None:
    identity = Identity(model="m", architecture=f"{source}:own@01234567", length=8, threads=1, attention="own")
    with pytest.raises(UsageError, match="changed since the sweep was planned"):
        Session(identity, 0).prepare()


def test_a_factory_in_a_module(package: str) -> None:
    assert built(f"{package}:own")().shape == (2, 8, 16)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("number", "returned int, which is no torch.nn.Module"),
        ("without_inputs", "return \\(module, inputs\\)"),
        ("missing", "no function 'missing'"),
        ("of_no_length", "neither it nor its inputs take 'length'"),
        ("fixed_batch", "neither it nor its inputs take 'batch'"),
    ],
)
def test_factories_that_cannot_be(source: Path, function: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        built(f"{source}:{function}")


def test_what_cannot_be_found(source: Path, tmp_path: Path) -> None:
    source.write_text("raise RuntimeError('boom')")
    for spec, reason in (
        (f"{source}:own", "RuntimeError: boom"),
        (f"{tmp_path}/absent.py:own", "no such file"),
        ("absent_package.x:own", "No module named"),
        (f"hf:{tmp_path}/absent", "absent"),
    ):
        with pytest.raises(UsageError, match=reason) as error:
            describe(spec)
        assert "\n" not in str(error.value)


def test_overrides_are_parameters_of_the_factory_or_settings_of_the_config(source: Path, folder: Path) -> None:
    check_overrides(entry(f"{source}:own"), {"width": 8})
    with pytest.raises(UsageError, match="takes depth, width"):
        check_overrides(entry(f"{source}:own"), {"widht": 8})
    check_overrides(entry(f"hf:{folder}"), {"num_hidden_layers": 1})
    with pytest.raises(UsageError, match="near it: num_hidden_layers"):
        check_overrides(entry(f"hf:{folder}"), {"num_hiden_layers": 1})


def test_a_folder_gives_its_config_and_with_pretrained_its_weights(folder: Path) -> None:
    saved = transformers.BertModel.from_pretrained(folder)
    random = built(f"hf:{folder}", length=600)  # more than its 512 positions: random weights take any length
    assert random.model.config.max_position_embeddings == 600  # type: ignore[union-attr]
    assert random()[0].shape == (2, 600, 32)
    assert random.tokens == 600
    same = built(f"hf:{folder}", pretrained=True)
    pairs = zip(same.model.parameters(), saved.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(UsageError, match="max_position_embeddings = 512; without --pretrained it can"):
        built(f"hf:{folder}", length=513, pretrained=True)


def test_an_architecture_by_its_bare_name() -> None:
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    assert built("hf:roformer", overrides=settings)()[0].shape == (2, 8, 32)


def test_file_module_and_folder_each_give_a_full_report(
    source: Path, folder: Path, package: str, tmp_path: Path, run_cli: Callable[..., CompletedProcess[str]]
) -> None:
    specs = (f"file={source}:own", f"module={package}:theirs", f"folder=hf:{folder}")
    named = [word for spec in specs for word in ("--model", spec)]
    path = {"PYTHONPATH": str(tmp_path / "path")}
    done = run_cli("collect", *named, "--lengths", "16,32", "--repeats", "2", "--out", tmp_path / "out", env=path)
    assert done.returncode == 0, done.stderr
    study = tk.load(tmp_path / "out")
    assert isinstance(study, tk.Study)
    assert study.latency().group_by("model").len().sort("model").rows() == [("file", 2), ("folder", 2), ("module", 2)]
    components = study.components()
    for model in ("file", "module", "folder"):
        rows = components.filter(components["model"] == model)
        assert {"attention", "ffn"} <= set(rows["component"])
        lost = rows.filter(rows["component"] == "unattributed")["share"].sum()
        assert float(lost) < 0.2 * float(rows["share"].sum())
    report = run_cli("report", tmp_path / "out", "--html", tmp_path / "report.html")
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "report.html").stat().st_size > 100_000
    again = run_cli("collect", *named, "--lengths", "16,32", "--repeats", "2", "--out", tmp_path / "out", env=path)
    assert "6 cached" in again.stderr
