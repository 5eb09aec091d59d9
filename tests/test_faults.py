"""The mutation check: its faults fit the code, and it tells what is caught from what is not. It runs by hand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.faults import main, stale
from tests.planted import FAULTS, Fault


def test_every_fault_fits_the_code() -> None:
    assert [why for fault in FAULTS if (why := stale(fault))] == []
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) > 60
    assert not [fault.name for fault in FAULTS if fault.old == fault.new]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of two functions and a test of one of them; one file is new and not committed."""
    root = tmp_path / "checkout"
    (root / "tests").mkdir(parents=True)
    (root / "code_under.py").write_text("def one():\n    return 1\n\n\ndef two():\n    return 2\n")
    (root / "tests" / "test_one.py").write_text(
        "import code_under\n\n\ndef test_one():\n    assert code_under.one() == 1\n"
    )
    (root / "conftest.py").write_text(
        "from hypothesis import settings\nsettings.register_profile('faults', settings.get_profile('default'))\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "code_under.py"], cwd=root, check=True)
    return root


def fault(old: str, new: str) -> Fault:
    return Fault(f"{old} becomes {new}", "code_under.py", old, new, ("tests/test_one.py",))


def test_what_is_caught_and_what_survives(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*.py")}
    assert main([], [fault("return 1", "return 3"), fault("return 2", "return 4")], checkout) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("tests/test_one.py::test_one")
    assert said[1].endswith("SURVIVED")
    assert said[2] == "1 of 2 faults caught"
    assert {path: path.read_bytes() for path in checkout.rglob("*.py")} == before


def test_what_cannot_be_judged_is_said(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [fault("return", "yield")], checkout) == 2
    assert "stands 2 times" in capsys.readouterr().err
    (checkout / "tests" / "test_one.py").write_text("def test_one():\n    assert False\n")
    assert main([], [fault("return 1", "return 3")], checkout) == 2
    assert "without any fault there fails: tests/test_one.py::test_one" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no fault has"):
        main(["nothing of this name"])
