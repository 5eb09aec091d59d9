"""Names that want to act where they are shown: as markup, script, control code, formula or path."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests import oracle

from . import text
from .base import BASE, FIRST, Events
from .case import Case
from .text import HEADER

# Each name, and the strings that a terminal, an HTML page or a CSV file must not hold as they are, or must.
NAMES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "html_script": ("</script><script>alert(1)</script>", {"html_not": ["</script><script>alert(1)"]}),
    "html_comment": ("<!--<script>", {"html_not": ["<!--<script>"]}),
    "html_img": ("<img src=x onerror=alert(1)>", {"html_not": ["<img src=x onerror"]}),
    "html_attr": ('x" onmouseover="alert(1)', {"html_not": ['x" onmouseover="alert(1)']}),
    "html_style": ("</style><style>body{display:none}", {"html_not": ["</style><style>body"]}),
    "js_link": ("javascript:alert(document.domain)", {"html_not": ['href="javascript:', "href='javascript:"]}),
    "template": ("{{7*7}}${7*7}<%= 7*7 %>#{7*7}", {"html_not": ["49${"], "term_has": ["{{7*7}}"]}),
    "proto": ("__proto__", {"html_not": []}),
    "vega_field": ("a.b[0]'\\\"]|datum.x;alert(1)//", {"html_not": []}),
    "u2028": ("a\u2028b\u2029c", {"html_not": ["\u2028"]}),
    "ansi": ("\x1b[2J\x1b[31mPWNED\x1b[0m\x1b]0;title\x07", {"term_not": ["\x1b[2J", "\x1b]0;"]}),
    "osc8": ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", {"term_not": ["\x1b]8;;http://evil"]}),
    "osc52": ("\x1b]52;c;cm0gLXJmIH4=\x07", {"term_not": ["\x1b]52;"]}),
    "c1_csi": ("\x9b31mC1\x9d0;t\x9c", {"term_not": ["\x9b", "\x9d"]}),
    "cr_bs": ("evil\rgood\x08\x08", {"term_not": ["evil\rgood"]}),
    "rich_markup": ("[red]x[/] [/] [bold", {"term_has": ["[red]x[/] [/] [bold"]}),
    "rich_link": (
        "[link=file:///etc/passwd]aten::mm[/link]",
        {"term_has": ["[link=file:///etc/passwd]"], "term_not": ["\x1b]8;"]},
    ),
    "rich_emoji": (":skull: :warning:", {"term_has": [":skull:"]}),
    "rtl": ("\u202egnp.exe\u202c\u200b\u2066x", {"term_not": ["\u202e"]}),
    "emoji_cjk": (
        "\U0001f525 \u6a21\u578b \U0001f468\u200d\U0001f469\u200d\U0001f467",
        {"term_has": ["\u6a21\u578b"]},
    ),
    "traversal": ("../../../../tmp/tracekit_pwned", {"no_file": ["/tmp/tracekit_pwned*"]}),
    "traversal_nul": ("a\x00b/..\\..\\x", {}),
    "reserved": ('CON.aux:|?*<>"', {}),
    "long_component": ("n" * 300, {}),
    "csv_formula": (
        '=HYPERLINK("http://evil","x")',
        {"csv_not": ["\n=HYPERLINK", ",=HYPERLINK", ',"=HYPERLINK']},
    ),
    "markdown": ("|a|b|`x`\n# h", {}),
    "percent_format": ("%s%n{0}{__class__}", {"term_has": ["{__class__}"]}),
    "empty_name": ("", {}),
}


def cases() -> Iterator[Case]:
    for short, (name, sinks) in NAMES.items():
        events = _renamed(name)
        head = {**HEADER, "host_name": name, name or "k": name}
        yield Case(
            f"inj_{short}",
            text.document(events, head, f', "traceName": {json.dumps(name)}'),
            "hostile op, annotation, metadata key and traceName",
            oracle.facts(events),
            sinks=sinks,
        )


def _renamed(name: str) -> Events:
    return [{**e, "name": name} if i == FIRST or e.get("name") == "fwd" else e for i, e in enumerate(BASE)]
