"""What is brought back from the GPU: records, logs and final weights, in files of less than 16 MB.

python experiments/2026-11-28_study_collapse/pack.py OUTPUT_ROOT TARGET
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save

MOST = 15_500_000
EXACT = ("order", "letter")
"""Bases that come back in float32; the others in bfloat16, as the shipped ones are."""


def members(root: Path) -> list[tuple[str, bytes]]:
    """Names and contents, the small ones first."""
    small = [*root.glob("log/*"), *root.glob("done.txt"), *root.glob("*/study/records/*.json")]
    found = [(str(path.relative_to(root)), path.read_bytes()) for path in sorted(small)]
    for label in (*EXACT, "plain"):
        for final in sorted(root.glob(f"{label}/experiments/dist_*/checkpoints/final")):
            name = f"bases/{label}/{final.parents[1].name}"
            for path in sorted(final.iterdir()):
                content = path.read_bytes()
                if path.suffix == ".safetensors" and label not in EXACT:
                    weights = {key: value.to(torch.bfloat16) for key, value in load_file(path).items()}
                    content = save(weights, metadata={"format": "pt"})
                found.append((f"{name}/{path.name}", content))
    return found


def main(root: Path, target: Path) -> None:
    parts: list[list[tuple[str, bytes]]] = [[]]
    for name, content in members(root):
        if sum(len(c) for _, c in parts[-1]) + len(content) > MOST:
            parts.append([])
        parts[-1].append((name, content))
    for i, part in enumerate(parts[:8]):
        with tarfile.open(target / f"part{i}.tar", "w") as tar:
            for name, content in part:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
