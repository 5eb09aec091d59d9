"""Lengths as people write them."""

from __future__ import annotations

import pytest

from tracekit.collect.lengths import parse
from tracekit.errors import UsageError


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (["512"], {"": [512]}),
        (["128,256, 512"], {"": [128, 256, 512]}),
        (["512,128,512"], {"": [128, 512]}),
        (["128:1024"], {"": [128, 256, 512, 1024]}),
        (["128:1000"], {"": [128, 256, 512]}),
        (["128:512:128"], {"": [128, 256, 384, 512]}),
        (["128:500:128"], {"": [128, 256, 384]}),
        (["64,128:512,1000"], {"": [64, 128, 256, 512, 1000]}),
        (["7:7"], {"": [7]}),
        (["tokens=8:16", "seconds=2.5,5"], {"tokens": [8, 16], "seconds": [2.5, 5]}),
        (["2:3:0.1"], {"": [2, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 3]}),
        (["8", "16"], {"": [8, 16]}),
    ],
)
def test_what_is_meant(specs: list[str], expected: dict[str, list[float]]) -> None:
    assert parse(specs) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "a", "1:", ":5", "512:128", "1:2:3:4", "nan", "inf", "128:1024:0", "99999999999"]
)
def test_what_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse([text])
    assert "\n" not in str(error.value)


def test_other_units_and_endless_ranges_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown unit 'miles'"):
        parse(["miles=1:8"])
    for endless in ("1:100000000:1", "1:2:0.000001"):
        with pytest.raises(UsageError, match="10,000"):
            parse([endless])
