"""What a bare name means: a run below an output root, a shipped base, or a config.

A path that is there always wins. A name that nothing has is a UserError with the nearest one and what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from atlantis.config import find, known_configs
from atlantis.errors import UserError
from atlantis.fields import did_you_mean

OUTPUTS = Path("outputs")
PACKAGE = Path(__file__).parent
MODELS = "atlantis_lab_models"
"""The package with the bases that are not in this one: the distribution atlantis-lab-models, made from pretrained/."""
APART = ("city_dist_100k", "warm_start")
"""Those bases."""
MAX_NAMED = 12  # names in a message


def run_folder(run: Path | str, output_root: Path | str = OUTPUTS) -> Path:
    """The folder of a run: a path, or a name in `<output_root>/experiments/`. Raises UserError for what is neither."""
    path, runs = Path(run), Path(output_root) / "experiments"
    if path.exists():
        return path
    if _is_bare(path) and (runs / path).is_dir():
        return runs / path
    names = known_runs(output_root)
    raise UserError(f"{run}: no such folder, and no run of this name in {runs}{hint(str(run), names)}")


def named_run(run: Path | str, output_root: Path | str = OUTPUTS) -> Path | None:
    """The folder of a run, as `run_folder`; None for what is neither."""
    path, named = Path(run), Path(output_root) / "experiments" / run
    return path if path.is_dir() else named if _is_bare(path) and named.is_dir() else None


def model_folder(model: Path | str, output_root: Path | str = OUTPUTS) -> Path:
    """The folder of a run, of a checkpoint or of a shipped base, by its path or its name. Raises UserError."""
    path, base = Path(model), base_folder(model)
    if path.exists() or (Path(output_root) / "experiments" / path).is_dir():
        return run_folder(path, output_root)
    if base is None:
        names = [*known_runs(output_root), *known_bases()]
        remedy = bases_elsewhere(str(model)) or hint(str(model), names)
        raise UserError(f"{model}: no such folder, and no run or base of this name{remedy}")
    return base


def base_folder(base: Path | str) -> Path | None:
    """The folder of a shipped base, by its name, before which `pretrained/` may stand; None if there is none."""
    name = str(base).removeprefix("pretrained/")
    folders = (root / name for root in _base_roots() if _is_bare(Path(name)))
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


def bases_elsewhere(name: str) -> str:
    """Where a base of this name comes from, if it is one that is shipped apart from this package; else nothing."""
    if name.removeprefix("pretrained/") not in APART:
        return ""
    return ". It is in the package atlantis-lab-models: `pip install ./pretrained` in a clone of atlantis"


def _base_roots() -> list[Path]:
    """Folders of bases: the user's own, this package's, the checkout's, and those of atlantis-lab-models."""
    models = find_spec(MODELS)
    apart = [] if models is None else map(Path, models.submodule_search_locations or ())
    return [Path("pretrained"), PACKAGE / "pretrained", PACKAGE.parents[1] / "pretrained", *apart]


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
    with suppress(UserError):
        return find(str(path))
    names = [*known_runs(output_root), *known_bases(), *known_configs()]
    remedy = bases_elsewhere(str(path)) or hint(str(path), names)
    raise UserError(f"{path}: there is nothing there, and no run, base or config of this name{remedy}")


def known_runs(output_root: Path | str = OUTPUTS) -> list[str]:
    """Names of the runs below an output root."""
    return sorted(file.parent.name for file in (Path(output_root) / "experiments").glob("*/config.yaml"))


def known_bases() -> list[str]:
    """Names of the shipped bases."""
    return sorted({file.parent.name for root in _base_roots() for file in root.glob("*/config.json")})


def hint(name: str, names: Sequence[str]) -> str:
    """The nearest of the known names, and what there is: `; did you mean demo? There is demo, demo_2`."""
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    nearest = did_you_mean(name, names) or ("." if names else "")
    return f"{nearest} There is {', '.join(names[:MAX_NAMED])}{more}" if names else ""


def _is_bare(path: Path) -> bool:
    return path.name == str(path)
