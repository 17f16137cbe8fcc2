"""What the shell offers for an argument when Tab is pressed: names of runs, bases and configs.

Where no name fits, the shell offers files. Nothing is imported before it is asked.
"""

from __future__ import annotations

from typing import Any

from atlantis.cli.folders import OUTPUTS


def run_names(ctx: Any, incomplete: str) -> list[str]:
    """Runs below the output root on the command line."""
    from atlantis.lookup import known_runs

    return _beginning(incomplete, known_runs(_output_root(ctx)))


def config_names(ctx: Any, incomplete: str) -> list[str]:
    """Configs, and runs to go on with."""
    from atlantis.config import known_configs
    from atlantis.lookup import known_runs

    return _beginning(incomplete, [*known_configs(), *known_runs(_output_root(ctx))])


def parent_names(ctx: Any, incomplete: str) -> list[str]:
    """Configs."""
    from atlantis.config import known_configs

    return _beginning(incomplete, known_configs())


def model_names(ctx: Any, incomplete: str) -> list[str]:
    """Runs and shipped bases."""
    from atlantis.lookup import known_bases, known_runs

    return _beginning(incomplete, [*known_runs(_output_root(ctx)), *known_bases()])


def all_names(ctx: Any, incomplete: str) -> list[str]:
    """Runs, shipped bases and configs."""
    return list(dict.fromkeys([*model_names(ctx, incomplete), *config_names(ctx, incomplete)]))


def _output_root(ctx: Any) -> Any:
    return ctx.params.get("output_root") or OUTPUTS


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
