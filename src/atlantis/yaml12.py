"""YAML as a config needs it: the core schema of YAML 1.2, and nothing that surprises.

`1e-4` is a number, `NO` and `1_000` are text, `012` is twelve. Aliases, tags and repeated keys are refused.
Reading gives plain data and the line of every key, so that a later check can say where a mistake is.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml

from atlantis.errors import UserError

Keys = tuple[str | int, ...]  # the way to a value: ("world", "regions", 0, "count")


def parse(text: str, source: str, *, one_line: bool = False) -> tuple[Any, dict[Keys, int]]:
    """Plain data, and the line (from 1) of each key path. Raises UserError with `source` and,
    unless `one_line`, the line.
    """
    data, lines = _parsed(text, source, one_line)
    return deepcopy(data), dict(lines)


@lru_cache(maxsize=64)  # a sweep, a benchmark and a resumed run read the same few files again and again
def _parsed(text: str, source: str, one_line: bool) -> tuple[Any, dict[Keys, int]]:
    lines: dict[Keys, int] = {}
    try:
        node = yaml.compose(text, Loader=_Loader)
        return (None if node is None else _plain(node, (), lines)), lines
    except RecursionError:
        raise UserError(f"{source}: is nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = source if mark is None or one_line else f"{source}:{mark.line + 1}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise UserError(f"{where}: not valid YAML: {problem}") from None


def dump(data: Any) -> str:
    """Block YAML of plain data, keys in their order, that `parse` reads back equal."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def scalar(text: str) -> Any:
    """What unquoted `text` means in the core schema (YAML 1.2.2, section 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


_INT = re.compile(r"[-+]?[0-9]{1,100}")
_BASED = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Any] = {"": None, "~": None}
for _word, _value in {"null": None, "true": True, "false": False}.items():
    _WORDS |= {_word: _value, _word.capitalize(): _value, _word.upper(): _value}


class _Refused(yaml.YAMLError):
    def __init__(self, problem: str, mark: yaml.Mark):
        super().__init__(problem)
        self.problem, self.problem_mark = problem, mark


class _Loader(yaml.SafeLoader):
    """Composes nodes only; what a plain scalar means is decided by `scalar`."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Refused("aliases and anchors (* and &) are not used here; write the value out", event.start_mark)
        if getattr(event, "tag", None):
            raise _Refused(f"the tag {event.tag} is not used here; write a plain value", event.start_mark)
        return super().compose_node(parent, index)


def _plain(node: yaml.Node, keys: Keys, lines: dict[Keys, int]) -> Any:
    lines.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return scalar(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*keys, i), lines) for i, item in enumerate(node.value)]
    data: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused("a key must be a word", key.start_mark)
        if key.value in data:
            raise _Refused(f"the key {key.value!r} is given twice", key.start_mark)
        lines[*keys, key.value] = key.start_mark.line + 1
        data[key.value] = _plain(value, (*keys, key.value), lines)
    return data


class _Dumper(yaml.SafeDumper):
    """Quotes text that `scalar` would read as something else; lists of values stay on one line; no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if scalar(text) == text else "'")


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flow = not any(isinstance(item, dict | list) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
