"""How the package is built: layers, no circles, modules of a readable size, and names that say what a value is.

`pytest tests/test_structure.py -s` prints the figures. An import is seen wherever it stands: at the top of a file,
inside a function, or as `import_module("...")` of a constant text. Those under `if TYPE_CHECKING:` do nothing when the
program runs, but a reader follows them too: they obey the same rules, except for the few in `FOR_TYPES`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "atlantis"

LAYERS = [
    ["errors", "names"],
    ["fields"],
    ["reading", "markdown", "progress", "limits", "signals"],
    ["home"],
    ["artifacts", "yaml12", "sphere", "scales"],
    ["statistics"],
    ["own_code"],
    ["strategies.common.strategy"],
    ["strategies.registry"],
    ["settings"],
    ["config"],
    ["trust"],
    ["lookup"],
    ["world"],
    ["tasks"],
    ["vocabulary"],
    ["data"],
    ["model"],
    ["readout"],
    ["strategies"],
    ["training"],
    ["report"],
    ["interpolate", "intervene", "stitch"],
    ["runs"],
    ["show"],
    ["sweep"],
    ["study"],
    ["bench"],
    ["cli"],
    ["__main__", "__init__"],
]
"""Data flows down this list: a module imports only from lines above its own, or from its own package.

A module of a package may have a line of its own, above that of the package.
"""

PLUG_INS = {"own_code", "sweep.cluster", "__init__", "readout", "cli.app"}
"""Where a module's name is not a constant: a user's class, a strategy or a task by the name of its file, a package that
need not be installed, names that packages hand out when they are first used, and the file of a command."""

FOR_TYPES = {
    "strategies.common.strategy": {"strategies.common.context", "data.rows", "vocabulary"},
    "world.folder": {"world.world"},
    "world.card": {"world.world"},
}
"""Imports for types alone that point upwards or back.

A config needs the class `Strategy` for its settings, so it lies high up. Its hooks are given the run that they are part
of, which is made of nearly everything below. `World.save` hands the world to functions about its folder and its card.
A Protocol in place of either class would write its attributes down a second time, a dozen of each.
"""

LONGEST = 400
LONGER: dict[str, tuple[int, str]] = {}
"""Modules that may have more lines, how many, and why."""

GENERIC = {"found", "asked", "own", "told", "one", "said", "place", "what"}
MOST_GENERIC = 0.01
"""Share of the assigned names that may be generic."""


@dataclass
class Imports:
    """The modules of the package that a module imports, by when that happens, and calls of `import_module`."""

    at_top: set[str] = field(default_factory=set)
    in_functions: set[str] = field(default_factory=set)
    for_types: set[str] = field(default_factory=set)
    is_dynamic: bool = False

    @property
    def at_run(self) -> set[str]:
        return self.at_top | self.in_functions


@cache
def sources() -> dict[str, Path]:
    """Every module by its dotted name below `atlantis`; a package is its `__init__`, the outermost one `__init__`."""
    modules = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = file
    return modules


def imports_of(tree: ast.AST, modules: set[str]) -> Imports:
    """What a source imports of `modules`."""
    result = Imports()

    def add(dotted: str, names: list[str], into: set[str]) -> None:
        package, _, module = dotted.partition(".")
        if package != "atlantis":
            return
        for name in names or [""]:
            inner = ".".join(part for part in (module, name) if part)
            into |= {inner if inner in modules else module or "__init__"} & modules

    def visit(node: ast.AST, into: set[str]) -> None:
        if isinstance(node, ast.ImportFrom) and node.module:
            add(node.module, [alias.name for alias in node.names], into)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name, [], into)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            if node.args and isinstance(node.args[0], ast.Constant):
                add(str(node.args[0].value), [], into)
            else:
                result.is_dynamic = True
        for child, inside in parts(node, into):
            visit(child, inside)

    def parts(node: ast.AST, into: set[str]) -> Iterator[tuple[ast.AST, set[str]]]:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from ((child, result.for_types) for child in node.body)
            yield from ((child, into) for child in node.orelse)
            return
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inside = result.in_functions if is_function and into is result.at_top else into
        yield from ((child, inside) for child in ast.iter_child_nodes(node))

    visit(tree, result.at_top)
    return result


@cache
def graph() -> dict[str, Imports]:
    modules = sources()
    return {
        name: imports_of(ast.parse(file.read_text(encoding="utf-8")), set(modules)) for name, file in modules.items()
    }


def line_of(module: str) -> tuple[str, int]:
    """The entry of LAYERS that a module belongs to, the longest that fits, and its line."""
    lines = {name: line for line, names in enumerate(LAYERS) for name in names}
    fitting = [name for name in lines if module == name or module.startswith(f"{name}.")]
    assert fitting, f"{module} is in no layer: give it a line in LAYERS"
    entry = max(fitting, key=len)
    return entry, lines[entry]


def wrong_imports(module: str, imported: set[str]) -> list[str]:
    """Those of the imported modules that do not lie above this one, nor in its own package."""
    entry, line = line_of(module)
    return sorted(other for other in imported if line_of(other)[0] != entry and line_of(other)[1] >= line)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other (Tarjan, 1972), each sorted."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def search(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in number:
                search(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in edges[module]:
                groups.append(sorted(group))

    for module in sorted(edges):
        if module not in number:
            search(module)
    return groups


def assigned_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a source assigns: by `=`, `:=`, `for`, `with`, in a comprehension, or as an argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


# --- the package


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_module_imports_only_from_above(module: str) -> None:
    assert wrong_imports(module, graph()[module].at_run) == []


def test_there_are_no_circles() -> None:
    assert circles({name: imports.at_run for name, imports in graph().items()}) == []


def test_imports_for_types_point_down_and_make_no_circles() -> None:
    back = {name: imports.for_types & FOR_TYPES.get(name, set()) for name, imports in graph().items()}
    assert {name: modules for name, modules in back.items() if modules} == FOR_TYPES, "these are no longer needed"
    down = {name: imports.for_types - back[name] for name, imports in graph().items()}
    assert {name: wrong for name in down if (wrong := wrong_imports(name, down[name]))} == {}
    assert circles({name: imports.at_run | down[name] for name, imports in graph().items()}) == []


def test_imports_by_a_computed_name_are_known() -> None:
    assert {name for name, imports in graph().items() if imports.is_dynamic} == PLUG_INS


def test_modules_are_of_a_readable_size() -> None:
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in sources().items()}
    too_long = {name: n for name, n in lines.items() if n > LONGER.get(name, (LONGEST, ""))[0]}
    assert too_long == {}, f"more than {LONGEST} lines: split by subject, or say in LONGER why not"
    assert {name for name in LONGER if lines.get(name, 0) <= LONGEST} == set(), "these exceptions are no longer needed"
    in_order = sorted(lines.values())
    longest = ", ".join(f"{name} {n}" for n, name in sorted(((n, name) for name, n in lines.items()), reverse=True)[:5])
    print(
        f"\nmodules: {len(lines)}, {sum(in_order):,} lines, median {in_order[len(in_order) // 2]}; longest: {longest}"
    )


def test_few_names_are_generic() -> None:
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sources().values()]
    names = Counter(name for tree in trees for name in assigned_names(tree))
    generic = {name: names[name] for name in sorted(GENERIC, key=lambda name: -names[name]) if names[name]}
    share = sum(generic.values()) / sum(names.values())
    print(f"\ngeneric names: {share:.2%} of {sum(names.values()):,} assigned: {generic}")
    assert share <= MOST_GENERIC


def test_figures_of_imports() -> None:
    """No claim: how the modules hang together, for who runs this with -s."""
    imports = graph().values()
    counts = [
        sum(len(edges) for edges in kind)
        for kind in zip(*((i.at_top, i.in_functions, i.for_types) for i in imports), strict=True)
    ]
    print(f"\nimports: {counts[0]} at the top, {counts[1]} inside functions, {counts[2]} for types")
    assert len(LAYERS) == len({tuple(names) for names in LAYERS}) and counts[0] > 0


# --- that these tests would see a mistake


MODULES = {"settings", "strategies", "strategies.l2sp", "world", "world.world", "__init__"}


@pytest.mark.parametrize(
    ("source", "kind", "imported"),
    [
        ("from atlantis.world import World", "at_top", {"world"}),
        ("from atlantis.world import world", "at_top", {"world.world"}),
        ("from atlantis import settings, nothing", "at_top", {"settings", "__init__"}),
        ("import atlantis.world.world as w", "at_top", {"world.world"}),
        ("try:\n  import atlantis.settings\nexcept ImportError: pass", "at_top", {"settings"}),
        ("class A:\n  from atlantis.settings import B", "at_top", {"settings"}),
        ("def f():\n  from atlantis.world import World", "in_functions", {"world"}),
        ("def f():\n  return import_module('atlantis.strategies').x", "in_functions", {"strategies"}),
        ("x = importlib.import_module('atlantis.strategies.l2sp')", "at_top", {"strategies.l2sp"}),
        ("if TYPE_CHECKING:\n  from atlantis.world import World", "for_types", {"world"}),
        ("if typing.TYPE_CHECKING:\n  import atlantis.settings", "for_types", {"settings"}),
        ("import numpy\nfrom pathlib import Path", "at_top", set()),
    ],
)
def test_every_way_to_import_is_seen(source: str, kind: str, imported: set[str]) -> None:
    result = imports_of(ast.parse(source), MODULES)
    assert getattr(result, kind) == imported
    others = {"at_top", "in_functions", "for_types"} - {kind}
    assert not any(getattr(result, other) for other in others)


def test_a_computed_name_is_seen() -> None:
    assert imports_of(ast.parse("import_module(f'atlantis.{x}')"), MODULES).is_dynamic
    assert not imports_of(ast.parse("import_module('atlantis.world')"), MODULES).is_dynamic


def test_wrong_layers_and_circles_are_found() -> None:
    assert wrong_imports("settings", {"world.world", "fields", "strategies.registry"}) == ["world.world"]
    assert wrong_imports("strategies.registry", {"strategies.l2sp"}) == ["strategies.l2sp"]
    assert wrong_imports("strategies.l2sp", {"strategies.common.context", "data.rows"}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    with pytest.raises(AssertionError, match="in no layer"):
        line_of("nowhere.at_all")


def test_assigned_names_are_counted() -> None:
    source = (
        "a = b\nfor c, d in e: pass\nwith f() as g: pass\n[h for h in i]\ndef j(k, *l): m: int = 1\nif (n := 1): pass"
    )
    assert sorted(assigned_names(ast.parse(source))) == sorted("acdghklmn")
