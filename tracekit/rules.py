"""A user's own rules from modules and annotations to components: the file behind `--components rules.toml`.

    [[rule]]
    component = "attention"            # one of the components
    part = "core"                      # optional: projections, core or mask of attention
    path = "encoder\\.layer\\.\\d+\\.mix"   # a module's path in traces that tracekit collected, or
    class = "MyMixer"                  # a module's class in traces with nn.Module frames, or
    annotation = "## attention ##"     # the text of a record_function range

Patterns are regular expressions that must match the whole text. The first rule that matches speaks, before ours.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracekit.components import COMPONENTS, PARTS
from tracekit.errors import UsageError
from tracekit.safety import sanitize

_SUBJECTS = ("path", "class", "annotation")


@dataclass(frozen=True)
class Rule:
    """What one pattern makes of a path, a class or an annotation (`subject`)."""

    subject: str
    pattern: re.Pattern[str]
    component: str
    part: str


@dataclass(frozen=True)
class Rules:
    """The user's rules in their order. Each question returns (component, part), or None when no rule speaks."""

    rules: tuple[Rule, ...] = ()

    def by_path(self, path: str) -> tuple[str, str] | None:
        """By a module's path, as in `tracekit::attention#encoder.layer.0.attention`."""
        return self._first("path", path)

    def by_class(self, name: str) -> tuple[str, str] | None:
        """By a module's class, as in `nn.Module: BertLayer_0`."""
        return self._first("class", name)

    def by_annotation(self, text: str) -> tuple[str, str] | None:
        """By the text of a range that the user wrote."""
        return self._first("annotation", text)

    def _first(self, subject: str, text: str) -> tuple[str, str] | None:
        for rule in self.rules:
            if rule.subject == subject and rule.pattern.fullmatch(text):
                return rule.component, rule.part
        return None


NO_RULES = Rules()


def load_rules(path: Path) -> Rules:
    """Read a rules file. Raises UsageError, naming the rule, for anything that cannot be meant."""
    where = sanitize(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: not valid TOML: {sanitize(error)}") from None
    except RecursionError:
        raise UsageError(f"{where}: nested too deeply") from None
    rules = document.get("rule")
    if not isinstance(rules, list) or set(document) != {"rule"}:
        raise UsageError(f"{where}: rules are tables named [[rule]], and nothing else")
    return Rules(tuple(_rule(one, f"{where}: rule {number}") for number, one in enumerate(rules, 1)))


def _rule(given: Any, where: str) -> Rule:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise UsageError(f"{where}: its values must be text")
    unknown = sorted(set(given) - {*_SUBJECTS, "component", "part"})
    if unknown:
        raise UsageError(f"{where}: unknown key {sanitize(unknown[0])!r}")
    subjects = [subject for subject in _SUBJECTS if subject in given]
    if len(subjects) != 1:
        raise UsageError(f"{where}: give it one of {', '.join(_SUBJECTS)}")
    component, part = given.get("component", ""), given.get("part", "")
    if component not in COMPONENTS:
        raise UsageError(f"{where}: component must be one of {', '.join(COMPONENTS)}")
    if part and part not in PARTS.get(component, ()):
        raise UsageError(f"{where}: {component} has no part {sanitize(part)!r}")
    try:
        pattern = re.compile(given[subjects[0]])
    except re.error as error:
        raise UsageError(f"{where}: {subjects[0]} is no regular expression: {sanitize(error)}") from None
    return Rule(subjects[0], pattern, component, part)
