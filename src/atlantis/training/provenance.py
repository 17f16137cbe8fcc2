"""What a run's numbers came from, beside its config and data: versions, the commit, seeds, digests of the sources."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis.settings import RunConfig
from atlantis.strategies.registry import code_digest

NOT_COUNTED = (
    "bench", "cli", "report", "sweep", "__init__.py", "__main__.py", "interpolate.py", "intervene.py", "markdown.py",
    "progress.py", "runs.py", "show.py", "stitch.py", "study.py",
)  # fmt: skip
"""Sources that only show, ask or start; other code in them leaves a run's numbers as they are."""


def versions() -> dict[str, str]:
    """Of this package, the libraries and Python; and the platform."""
    from importlib.metadata import version

    packages = ("torch", "transformers", "numpy", "scikit-learn", "pandas")
    ours = {
        "atlantis": artifacts.version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    return ours | {package: version(package) for package in packages}


def digests_of_own_code(config: RunConfig) -> dict[str, str]:
    """The digests of a user's own strategies, by their names in the config."""
    digests = {strategy.name: code_digest(strategy.name) for strategy in config.strategies}
    return {name: digest for name, digest in digests.items() if digest is not None}


def code_digests(config: RunConfig) -> dict[str, str]:
    """What a run's numbers depend on besides config and data: the sources that compute them, and the libraries."""
    from importlib.metadata import version

    package = Path(__file__).parents[1]
    sources = [file for file in sorted(package.rglob("*")) if file.suffix in (".py", ".cpp")]
    counted = [file for file in sources if file.relative_to(package).parts[0] not in NOT_COUNTED]
    texts = {file.relative_to(package).as_posix(): file.read_text(encoding="utf-8") for file in counted}
    libraries = {name: version(name) for name in ("torch", "numpy")}
    return {"atlantis": artifacts.digest_of(texts)} | libraries | digests_of_own_code(config)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each fact that was recorded and is another now."""
    return [f"{key}: {before[key]} -> {value}" for key, value in now.items() if before.get(key, value) != value]


def commit() -> str | None:
    """The commit of the source checkout the package runs from, with + if it has changes; None elsewhere."""
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def seeds_of(config: RunConfig) -> dict[str, Any]:
    """All seeds of a run, by what each decides."""
    return {
        "world": config.world.seed,
        "regions": {region.name: region.seed for region in config.world.regions},
        "data": config.dataset.seed,
        "initialisation": config.model.seed,
        "order": config.training.seed,
        "evaluation": config.evaluation.seed,
        "probe": config.probe.seed,
    }
