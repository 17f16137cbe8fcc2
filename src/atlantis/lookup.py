"""What a bare name means: a run below an output root, a shipped base, or a config.

A path that is there always wins. A name that nothing has is a UserError with the nearest one and what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atlantis.config import find, known_configs
from atlantis.config.explain import did_you_mean
from atlantis.errors import UserError

OUTPUTS = Path("outputs")
REPOSITORY = Path(__file__).parents[2]
"""Root of a source checkout, which is where `pretrained/` is."""
BASES = (Path("pretrained"), REPOSITORY / "pretrained")
MAX_NAMED = 12  # names in a message


def run_folder(run: Path | str, output_root: Path | str = OUTPUTS) -> Path:
    """The folder of a run: a path, or a name in `<output_root>/experiments/`. Raises UserError for what is neither."""
    path, runs = Path(run), Path(output_root) / "experiments"
    if path.exists():
        return path
    if _is_bare(path) and (runs / path).is_dir():
        return runs / path
    known = known_runs(output_root)
    raise UserError(f"{run}: no such folder, and no run of this name in {runs}{hint(str(run), known)}")


def model_folder(model: Path | str, output_root: Path | str = OUTPUTS) -> Path:
    """The folder of a run, of a checkpoint or of a shipped base, by its path or its name. Raises UserError."""
    path, base = Path(model), base_folder(model)
    if path.exists() or (Path(output_root) / "experiments" / path).is_dir():
        return run_folder(path, output_root)
    if base is None:
        known = [*known_runs(output_root), *known_bases()]
        raise UserError(f"{model}: no such folder, and no run or base of this name{hint(str(model), known)}")
    return base


def base_folder(base: Path | str) -> Path | None:
    """The folder of a shipped base, by its name, before which `pretrained/` may stand; None if there is none."""
    name = str(base).removeprefix("pretrained/")
    return next((root / name for root in BASES if _is_bare(Path(name)) and (root / name).is_dir()), None)


def anything(path: Path | str, output_root: Path | str = OUTPUTS) -> Path:
    """A path that is there, or what a name means: a run, else a shipped base, else a config. Raises UserError."""
    path = Path(path)
    if path.exists():
        return path
    run = Path(output_root) / "experiments" / path
    if _is_bare(path) and run.is_dir():
        return run
    if (base := base_folder(path)) is not None:
        return base
    if path.name in known_configs():
        return find(path.name)
    known = [*known_runs(output_root), *known_bases(), *known_configs()]
    raise UserError(f"{path}: there is nothing there, and no run, base or config of this name{hint(str(path), known)}")


def known_runs(output_root: Path | str = OUTPUTS) -> list[str]:
    """Names of the runs below an output root."""
    return sorted(file.parent.name for file in (Path(output_root) / "experiments").glob("*/config.yaml"))


def known_bases() -> list[str]:
    """Names of the shipped bases."""
    return sorted({file.parent.name for root in BASES for file in root.glob("*/config.json")})


def hint(name: str, known: Sequence[str]) -> str:
    """The nearest of the known names, and what there is: `; did you mean demo? There is demo, demo_2`."""
    known = list(dict.fromkeys(known))
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    nearest = did_you_mean(name, known) or ("." if known else "")
    return f"{nearest} There is {', '.join(known[:MAX_NAMED])}{more}" if known else ""


def _is_bare(path: Path) -> bool:
    return path.name == str(path)
