"""Make the pictures in docs/images from a study: the terminal report as SVG, the HTML report as PNG.

Usage: python benchmarks/screenshots.py demo/traces [docs/images]     (needs playwright and a chromium)
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console

from tracekit.analyze.load import load_study
from tracekit.reports.asked import Asked
from tracekit.reports.html import write_html
from tracekit.reports.terminal import print_report


def main() -> None:
    """Write terminal.svg and report.png."""
    traces = Path(sys.argv[1])
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    study = load_study([traces])
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    print_report(study, console, Asked(top=6))
    picture = console.export_svg(title=f"tracekit report {traces.parent.name}/{traces.name}")
    # Rich asks a server for its font; a picture in a README asks nobody.
    (folder / "terminal.svg").write_text(re.sub(r"@font-face\s*\{.*?\}", "", picture, flags=re.DOTALL))
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        page_file = write_html(study, Path(scratch) / "report.html")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1180})
        page.goto(page_file.as_uri())
        page.locator(".chart svg").last.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=str(folder / "report.png"))
        browser.close()


if __name__ == "__main__":
    main()
