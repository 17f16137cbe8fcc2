"""The same faults for three systems: ours, the transformers Trainer, and Lightning where it is installed.

Each trains the same model (Qwen2's architecture, the same sizes) on the same rows for 15 steps, saves on the way and
is started again by its documented way to resume: `--resume`, `resume_from_checkpoint`, `ckpt_path="last"`. What is
compared at the end are weights and optimizer moments, tensor by tensor. A damaged checkpoint is *refused* (an error),
*repaired* (the end is that of an unbroken run) or *taken* (it ends without an error, with other weights, in silence).
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlantis import artifacts
from checks.faults.common import RUN, TRAIN, Options, Outcome, command, copy, fork, hashes
from checks.faults.damage import spoil
from checks.faults.disk import ROOMY, room, tmpfs

SAVE_EVERY = 4


@dataclass(frozen=True)
class System:
    """How to start (and resume) a system, where its checkpoints are, and the tensors that it ends with."""

    start: Path
    work: Callable[[], int]
    checkpoints: Callable[[Path], list[Path]]
    ends_with: Callable[[Path], dict[str, Any]]
    is_half: Callable[[Path, dict[str, int]], bool]


def suite(lab: Path, options: Options) -> dict[str, Any]:
    import safetensors.torch  # noqa: F401
    import transformers.trainer
    from transformers import AutoTokenizer, Qwen2ForCausalLM  # noqa: F401

    del transformers.trainer
    prepared = copy(lab / "done", "prepared")
    final = prepared / RUN / "checkpoints/checkpoint-0"
    peer = copy(final, "peer/model").parent
    shutil.copytree(next((prepared / "outputs/datasets").iterdir()), peer / "data")
    shutil.rmtree(prepared / RUN)
    systems = {
        "atlantis": System(
            prepared,
            command(*TRAIN),
            lambda f: sorted((f / RUN / "state").glob("state-*")),
            _ours,
            lambda path, usual: not artifacts.is_whole(path),
        ),
        "Trainer": System(peer, _trainer, lambda f: sorted((f / "out").glob("checkpoint-*")), _trainers, _is_small),
    }
    if find_spec("lightning") is not None:
        import lightning  # type: ignore[import-not-found]  # noqa: F401

        systems["Lightning"] = System(
            peer, _lightning, lambda f: sorted((f / "out").glob("*.ckpt")), _lightnings, _is_small
        )
    else:
        print("peers: Lightning is not installed, and has no column (pip install lightning)", flush=True)
    results = {name: _suites(lab, name, system, options) for name, system in systems.items()}
    return {"systems": results, "lightning": find_spec("lightning") is not None}


def _suites(lab: Path, name: str, system: System, options: Options) -> dict[str, Any]:
    whole = copy(system.start, "whole")
    outcome = fork(system.work, whole).wait()
    assert outcome.code == 0, outcome.said
    reference = _digests(system, whole)
    n = 1 if options.quick else max(20, options.n // 50)
    random_ = random.Random(options.seed)
    stopped = _stopped(system, reference)
    found: dict[str, Any] = {"seconds": round(outcome.seconds, 2)}
    found["kills"] = _kills(system, reference, whole, outcome.seconds, n, random_)
    found["disk full"] = _full(lab, system, reference, whole, 1 if options.quick else 20)
    for kind in ("truncated", "flipped"):
        found[kind] = _damaged(system, *stopped, kind, n, random_) if stopped else None
    return found


def _digests(system: System, folder: Path) -> dict[str, str]:
    """SHA-256 of each tensor at the end; nothing if there is no end."""
    try:
        tensors = system.ends_with(folder)
    except Exception:
        return {}
    return {
        name: hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
        for name, value in sorted(tensors.items())
    }


def _stopped(system: System, reference: dict[str, str]) -> tuple[Path, dict[str, str]] | None:
    """A folder in which a run was killed after its second checkpoint, and how it ends if it simply goes on from there.

    Better one from which it goes on to the unbroken run's end; a peer may do that from some of its checkpoints only.
    None: it never went on.
    """
    kept = None
    for attempt in range(8):
        stopped = copy(system.start, "stopped")
        child = fork(system.work, stopped)
        deadline = time.monotonic() + 60
        while len(system.checkpoints(stopped)) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.001 * attempt**2)
        child.kill()
        child.wait()
        if fork(system.work, trial := copy(stopped, "trial")).wait().code:
            continue
        ended = _digests(system, trial)
        if ended == reference:
            return stopped, reference
        kept = copy(stopped, "kept"), ended
    return kept


def _ended(system: System, trial: Path, outcome: Outcome, reference: dict[str, str]) -> str:
    if outcome.code:
        return "refused"
    return "repaired" if _digests(system, trial) == reference else "taken"


def _kills(
    system: System, reference: dict[str, str], whole: Path, usual_s: float, n: int, random_: random.Random
) -> dict[str, int]:
    """Runs killed once at a random moment, then started again."""
    names, found = set(hashes(whole)), {"runs": 0, "killed": 0, "not resumed": 0, "other weights": 0, "left over": 0}
    while found["killed"] < n:
        trial = copy(system.start, "trial")
        child = fork(system.work, trial)
        time.sleep(random_.uniform(0, usual_s))
        child.kill()
        found["runs"] += 1
        if child.wait().code != -9:
            continue
        found["killed"] += 1
        ended = _ended(system, trial, fork(system.work, trial).wait(), reference)
        found["not resumed"] += ended == "refused"
        found["other weights"] += ended == "taken"
        found["left over"] += bool(set(hashes(trial)) - names)
    return found


def _full(lab: Path, system: System, reference: dict[str, str], whole: Path, points: int) -> dict[str, int] | None:
    """The disk is full after so many bytes; then there is room again, and the same is started again."""
    (disk := lab / "disk").mkdir(exist_ok=True)
    least, most = room(system.start), room(whole)
    found = {"runs": points, "no error": 0, "half-made": 0, "not resumed": 0, "other weights": 0}
    usual = {path.name: _size(path) for path in system.checkpoints(whole)}
    for point in range(points):
        try:
            with tmpfs(disk, ROOMY):
                trial = copy(system.start, "trial", disk)
                _resize(disk, least + (most - least) * point // points)
                outcome = fork(system.work, trial).wait()
                found["no error"] += outcome.code == 0
                found["half-made"] += any(system.is_half(path, usual) for path in system.checkpoints(trial))
                _resize(disk, ROOMY)
                ended = _ended(system, trial, fork(system.work, trial).wait(), reference)
                found["not resumed"] += ended == "refused"
                found["other weights"] += ended == "taken"
        except subprocess.CalledProcessError:
            return None
    return found


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def _is_small(path: Path, usual: dict[str, int]) -> bool:
    """Whether a checkpoint under its final name is a tenth smaller than the one of an unbroken run."""
    return _size(path) < 0.9 * usual.get(path.name, 0)


def _resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)


def _damaged(
    system: System, stopped: Path, reference: dict[str, str], kind: str, n: int, random_: random.Random
) -> dict[str, int]:
    """The newest checkpoint is cut short or has one bit flipped, each byte as likely as any; then it is resumed."""
    found = {"runs": n, "refused": 0, "repaired": 0, "taken": 0}
    for _ in range(n):
        trial = copy(stopped, "trial")
        newest = max(system.checkpoints(trial), key=lambda path: path.stat().st_mtime_ns)
        files = [file for file in [newest, *newest.rglob("*")] if file.is_file() and file.stat().st_size]
        sizes = [file.stat().st_size for file in files]
        spoil(random_.choices(files, sizes), random_, kind)
        found[_ended(system, trial, fork(system.work, trial).wait(), reference)] += 1
    return found


# --- the systems; each is started in its folder


def _ours(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    state = max((folder / RUN / "state").glob("state-*"), key=lambda path: int(path.name[6:]))
    return load_file(state / "state.safetensors")


def _rows() -> Any:
    from transformers import AutoTokenizer

    from atlantis.data.dataset import Dataset
    from checks.benchmarks.train import TextRows

    return TextRows(Dataset.load("data").splits["train"], AutoTokenizer.from_pretrained("model"))


def _new_model() -> Any:
    from transformers import Qwen2ForCausalLM

    return Qwen2ForCausalLM.from_pretrained("model")


def _trainer() -> int:
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    arguments = TrainingArguments(
        output_dir="out",
        num_train_epochs=3,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        warmup_steps=3,
        logging_steps=5,
        save_steps=SAVE_EVERY,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=_new_model(), args=arguments, train_dataset=_rows())
    last = get_last_checkpoint("out") if Path("out").is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    return 0


def _trainers(folder: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    found = load_file(folder / "out/checkpoint-15/model.safetensors")
    moments = torch.load(folder / "out/checkpoint-15/optimizer.pt", weights_only=True)["state"]
    return found | {f"{k}.{name}": value for k, state in moments.items() for name, value in state.items()}


def _lightning() -> int:
    import lightning  # type: ignore[import-not-found]
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint  # type: ignore[import-not-found]

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = _new_model()

        def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
            return self.model(**batch).loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.01)

    lightning.seed_everything(42, verbose=False)
    saver = ModelCheckpoint("out", every_n_train_steps=SAVE_EVERY, save_top_k=-1, save_last=True)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        callbacks=[saver],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    rows = torch.utils.data.DataLoader(_rows(), batch_size=32, shuffle=True, collate_fn=_collated)
    trainer.fit(Module(), rows, ckpt_path="last")
    trainer.save_checkpoint("out/end.ckpt")
    return 0


def _collated(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    import torch

    return {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}


def _lightnings(folder: Path) -> dict[str, Any]:
    import torch

    found = torch.load(folder / "out/end.ckpt", weights_only=True)
    moments = found["optimizer_states"][0]["state"]
    return found["state_dict"] | {f"{k}.{name}": value for k, state in moments.items() for name, value in state.items()}
