"""Configs: YAML in, YAML out, a digest of what counts, and mistakes said with their line.

Use: `load("configs/demo.yaml", ["training.max_steps=20"]).training.batch_size`. `atlantis.settings` has the settings.
"""

from atlantis.config.digests import BOOKKEEPING, all_settings, as_before, difference, digest, flat
from atlantis.config.explain import checked
from atlantis.config.files import (
    changed,
    dump,
    find,
    is_run,
    known_configs,
    load,
    load_of_run,
    load_with,
    require_run,
)

__all__ = [
    "BOOKKEEPING",
    "all_settings",
    "as_before",
    "changed",
    "checked",
    "difference",
    "digest",
    "dump",
    "find",
    "flat",
    "is_run",
    "known_configs",
    "load",
    "load_of_run",
    "load_with",
    "require_run",
]
