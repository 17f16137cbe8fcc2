"""The page's JavaScript as text, without a program that reads it: short functions, every name once and used."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from atlantis.report.page import SCRIPTS, _template

WEB = Path(__file__).parents[1] / "src" / "atlantis" / "report" / "web"
TEXTS = {name: _template(name) for name in SCRIPTS}
NAMES = re.compile(r"^(?:async )?(?:function|const|let|class) (?:\[)?([\w$]+)", re.MULTILINE)


def test_every_script_of_the_folder_is_in_the_page():
    assert sorted(SCRIPTS) == sorted(path.name for path in WEB.glob("*.js")) and len(set(SCRIPTS)) == len(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_lines_files_and_functions_are_short(name):
    lines = TEXTS[name].splitlines()
    assert [line for line in lines if len(line) > 120 or line != line.rstrip() or "\t" in line] == []
    assert len(lines) <= 280, "has it two subjects?"
    starts = [k for k, line in enumerate(lines) if re.match(r"(async )?function ", line)]
    lengths = {lines[k]: lines[k:].index("}") + 1 for k in starts if "}" in lines[k:]}
    assert {head: length for head, length in lengths.items() if length > 45} == {}


def test_every_name_is_made_once_and_used():
    whole = "\n".join(TEXTS.values())
    names = Counter(NAMES.findall(whole))
    assert len(names) > 150 and [name for name, n in names.items() if n > 1] == []
    unused = [name for name in names if len(re.findall(rf"(?<![\w$]){re.escape(name)}(?![\w$])", whole)) < 2]
    assert unused == []


def test_what_a_script_asks_of_the_page_is_there():
    page = _template("page.html")
    ids = set(re.findall(r'id="([\w-]+)"', page))
    wanted = {found for text in TEXTS.values() for found in re.findall(r'\$\("([\w-]+)"\)', text)}
    assert wanted <= ids and len(wanted) > 30


def test_every_rule_of_the_style_sheet_stands_once():
    rules = Counter(line.strip() for line in _template("page.css").splitlines() if "{" in line and line.endswith("}"))
    assert len(rules) > 50 and [rule for rule, n in rules.items() if n > 1] == []


def test_the_scripts_are_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node; the tests in a browser run the scripts")
    done = subprocess.run(
        [node, "--check", "-"], input="\n".join(TEXTS.values()), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
