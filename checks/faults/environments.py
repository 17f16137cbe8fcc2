"""Other hash seeds, time zones, locales, working directories, umasks: the same dataset and weight hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from checks.faults.common import Options, Tally, copy, counted

HASH_SEEDS = ("0", "1", "7", "4294967295")
ZONES = ("UTC", "Asia/Tokyo", "America/St_Johns", "Pacific/Chatham", "Pacific/Pago_Pago")
LOCALES = ("C", "C.UTF-8", "POSIX", "de_DE.UTF-8", "tr_TR.UTF-8")
UMASKS = (0o022, 0o077, 0o002, 0o000)
NAMES = ("here", "with space", "täglich", "[a-b]*", "deep/er/and/deeper")


def suite(lab: Path, options: Options) -> dict[str, Any]:
    """20 environments, each in a fresh interpreter; in each several things differ from the last."""
    tally, reference = Tally(), counted(lab / "done")
    environments = []
    for k in range(1 if options.quick else 20):
        place = NAMES[k % len(NAMES)]
        changed = {
            "PYTHONHASHSEED": HASH_SEEDS[k % len(HASH_SEEDS)],
            "TZ": ZONES[k % len(ZONES)],
            "LC_ALL": LOCALES[(k // 2) % len(LOCALES)],
            "OMP_NUM_THREADS": "1",
            "HOME": str(lab),
        }
        umask = UMASKS[(k // 3) % len(UMASKS)]
        folder = copy(lab / "new", f"{k}/{place}")
        _listed_backwards(folder)
        arguments = [sys.executable, "-m", "atlantis", "train", "small.yaml", "--no-report"]
        source = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
        done = subprocess.run(
            arguments,
            cwd=folder,
            env=os.environ | changed | {"PYTHONPATH": source},
            umask=umask,
            capture_output=True,
            text=True,
        )
        after = counted(folder)
        reasons = [f"exit code {done.returncode}: {done.stderr[-300:]}"] if done.returncode else []
        same = {name: value for name, value in after.items() if name in reference}
        reasons += [f"other bytes: {name}" for name, value in same.items() if value != reference[name]]
        reasons += [f"missing: {name}" for name in reference.keys() - after.keys()]
        tally.add([f"{changed | {'umask': oct(umask), 'folder': place}}: {reason}" for reason in reasons])
        environments.append({**changed, "umask": oct(umask), "folder": place} | {"HOME": "another"})
    return {"same bytes": tally.as_dict(), "environments": environments}


def _listed_backwards(folder: Path) -> None:
    """Files made in another order are listed in another order by most file systems."""
    for file in sorted(folder.iterdir(), reverse=True):
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
