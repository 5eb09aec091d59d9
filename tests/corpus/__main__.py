"""Write the corpus, and run any analyzer over it.

python -m tests.corpus --out DIR
python -m tests.corpus --out DIR --check tracekit check {} --json
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from . import every, judge


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the traces and manifest.json go")
    parser.add_argument(
        "--check",
        nargs=argparse.REMAINDER,
        metavar="CMD",
        help="the analyzer: {} stands for the file; it prints what tests/corpus/judge.py says",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    entries = every.write(args.out)
    outcomes = Counter(entry["outcome"] for entry in entries)
    print(f"{len(entries)} cases ({', '.join(f'{n} {name}' for name, n in outcomes.items())}) in {args.out}")
    return checked(entries, args.out, args.check) if args.check else 0


def checked(entries: list[dict[str, Any]], folder: Path, command: list[str]) -> int:
    """Run the analyzer, say where it fails; the exit code."""
    tried = [entry for entry in entries if not judge.skipped(entry)]
    failed = peak = 0
    for entry in tried:
        ended = judge.run(command, folder / entry["file"], entry["limits"])
        found = judge.complaints(entry, ended)
        peak = max(peak, ended.rss_mb)
        if found:
            failed += 1
            print("FAIL", ascii(entry["case"]), "; ".join(found)[:300])
    print(f"{len(tried) - failed} of {len(tried)} cases pass; peak RSS {peak} MiB")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
