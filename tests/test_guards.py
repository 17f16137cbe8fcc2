"""What must not stand in the code, found in its syntax tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "scripts", "checks", "examples", "experiments")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen",
         "pd.read_pickle", "pandas.read_pickle", "joblib.load"}  # fmt: skip
METHODS = {"extractall", "read_pickle"}
KEYWORDS = {"shell": True, "trust_remote_code": True, "allow_pickle": True}
STATELESS = {"Generator", "PCG64", "SeedSequence", "BitGenerator", "default_rng", "Philox"}
SEEDED_OBJECTS = {"Random", "SystemRandom"}

EXEMPT = {
    ("src/atlantis/training/distributed.py", "torch.load"): "what rank 0 sends to the other ranks of the same run",
    ("src/atlantis/strategies/lora.py", "global random state"): "peft draws from it; inside torch.random.fork_rng",
    ("checks/agreement/runs.py", "global random state"): "avalanche draws from it; inside torch.random.fork_rng",
    ("checks/faults/cases/payloads.py", "pickle"): "makes the pickles that must not be loaded",
    ("checks/faults/peers.py", "torch.load"): "what the frameworks it measures wrote, with weights_only=True",
    ("experiments/2026-11-22_plain_recipe/trial.py", "torch.load"): "its own state, with weights_only=True",
}
"""File and what is found in it, and why that may be."""


def found_in(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of everything that is banned."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            found += [(line, alias.name) for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [(line, node.module or "")] if (node.module or "").split(".")[0] in MODULES else []
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append((line, "bare except"))
        elif isinstance(node, ast.Call):
            found += [(line, what) for what in _called(node)]
    return found


def _called(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    found = [name] if name in CALLS or (isinstance(node.func, ast.Attribute) and node.func.attr in METHODS) else []
    for keyword in node.keywords:
        if keyword.arg in KEYWORDS and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
            found.append(f"{keyword.arg}=True")
        if "seed" in (keyword.arg or "") and any(_is_hash(inner) for inner in ast.walk(keyword.value)):
            found.append("hash() in a seed")
    owner, _, function = name.rpartition(".")
    if (owner in ("np.random", "numpy.random") and function not in STATELESS) or (
        owner == "random" and function not in SEEDED_OBJECTS
    ):
        found.append("global random state")
    if name in ("torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"):
        found.append("global random state")
    if re.search(r"seed|Seed|PCG64|Random", name) and any(_is_hash(inner) for inner in ast.walk(node)):
        found.append("hash() in a seed")
    return found


def _is_hash(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hash"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_banned(file: Path) -> None:
    name = file.relative_to(ROOT).as_posix()
    found = found_in(ast.parse(file.read_text(encoding="utf-8")))
    assert [(line, what) for line, what in found if (name, what) not in EXEMPT] == []


def test_every_exemption_is_needed() -> None:
    for name, what in EXEMPT:
        found = found_in(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        assert what in [found_there for _, found_there in found], f"{name} no longer has {what}"


def test_torch_load_takes_weights_only() -> None:
    for file in (*(ROOT / "experiments").rglob("*.py"), *(ROOT / "checks" / "faults").rglob("*.py")):
        for call in re.findall(r"torch\.load\(.*", file.read_text(encoding="utf-8")):
            assert "weights_only=True" in call


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import dill as d", "torch.load(f)", "yaml.load(f, Loader=L)",
        "eval('1')", "exec(code)", "subprocess.run(c, shell=True)", "tar.extractall(p)", "os.system('ls')",
        "AutoModel.from_pretrained(p, trust_remote_code=True)", "np.load(f, allow_pickle=True)",
        "try:\n    f()\nexcept:\n    pass", "np.random.seed(1)", "np.random.rand(3)", "numpy.random.shuffle(x)",
        "random.random()", "random.seed(1)", "torch.manual_seed(3)", "np.random.PCG64(hash(name))",
        "f(seed=hash(x) % 7)",
    ],
)  # fmt: skip
def test_the_guard_sees_it(code: str) -> None:
    assert found_in(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "np.random.Generator(np.random.PCG64(1))",
        "torch.Generator().manual_seed(1)",
        "yaml.safe_load(f)",
        "model.eval()",
    ],
)
def test_the_guard_lets_it_pass(code: str) -> None:
    assert not found_in(ast.parse(code))
