"""Repair of a finished run: what was damaged or removed is made again, where the rest of its files allow that.

`final` comes from the last step's checkpoint, which has the same weights, or else from the last state. The log's rows
of evaluations come from the checkpoints, which hold them too. What is made again has the bytes that it had: `run.json`
has their SHA-256. Nothing is trained anew, for that could end with other weights on another machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis import artifacts, trust
from atlantis.errors import UserError, without_remedy
from atlantis.model.checkpoint import checkpoint_folders
from atlantis.progress import say
from atlantis.reading import json_of, read_json
from atlantis.training.run import RunFolder

SCORES = "eval_results.json"


def mend(run: RunFolder, final_from_state: Callable[[], None]) -> None:
    """Make again what is damaged of a finished run, and say so; `final_from_state` writes `final` from a state.

    Raises UserError for the metric log and for `final` where that cannot be done; with `run.strict` for anything that
    is damaged, and nothing is touched. Another checkpoint that cannot be made again is reported, and left as it is.
    """
    folders = checkpoint_folders(run.path)
    problems = {step: _problem(run, step, folder) for step, folder in folders.items()}
    final, log = _final_problem(run), trust.log_problem(run.path, run.record)
    if run.strict and (first := next(filter(None, (log, final, *problems.values())), None)):
        raise UserError(f"{first} (without --strict it is made again from the rest of the run, where that can be done)")
    whole = {step: folder for step, folder in folders.items() if problems[step] is None}
    if final is not None:
        _mend_final(run, final, whole, final_from_state)
    if log is not None:
        _mend_log(run, log, whole)
    for step, problem in problems.items():
        if problem is not None:
            _mend_checkpoint(run, step, problem)


def _problem(run: RunFolder, step: int, folder: Path) -> str | None:
    """What is wrong with a checkpoint."""
    seals = run.record.get("checkpoints", {})
    return artifacts.damage(folder) or trust.exchanged(folder, step, seals)


def _final_problem(run: RunFolder) -> str | None:
    final = run.checkpoints / "final"
    if not final.is_dir():
        return f"{final}: is missing"
    if problem := artifacts.damage(final):
        return problem
    return trust.foreign_final(final, run.record)


def _mend_final(run: RunFolder, problem: str, whole: dict[int, Path], final_from_state: Callable[[], None]) -> None:
    final, last = run.checkpoints / "final", whole.get(run.record.get("steps", -1))
    aside = artifacts.set_aside(final) if final.is_dir() else None
    try:
        if last is not None and trust.foreign_final(last, run.record) is None:
            _copied(last, final, leaving=SCORES)
            source = last.name
        else:
            final_from_state()
            source = "the last state"
        if trust.foreign_final(final, run.record) is not None:
            artifacts.remove(final, "checkpoint")
            raise UserError(f"{final}: what the last state holds is not what the run ended with")
    except BaseException as error:
        if aside is not None and not final.exists():
            aside.rename(final)
        if isinstance(error, UserError):
            raise UserError(
                f"{without_remedy(problem)}, and cannot be made again ({error}); restore it from a copy, or train "
                "again under another name="
            ) from None
        raise
    kept = f"; kept as {aside.name}" if aside is not None else ""
    say(f"damaged: {without_remedy(problem)}{kept}; made again from {source}, with the same weights")


def _copied(source: Path, target: Path, leaving: str) -> None:
    """A checkpoint with the files of another one, but for `leaving`."""
    record = artifacts.manifest(source)
    names = [] if record is None else [name for name in record["files"] if name != leaving]
    with artifacts.new_folder(target, kind="checkpoint") as aside:
        for name in names:
            shutil.copyfile(source / name, aside / name)


def _mend_log(run: RunFolder, problem: str, whole: dict[int, Path]) -> None:
    """Put the rows of evaluations in again from the checkpoints; the bytes must be those of the record."""
    file = run.metrics
    data = file.read_bytes() if file.is_file() else b""
    candidates = [data[: run.record.get("log_bytes", 0)], _rebuilt(data, whole)]
    for candidate in candidates:
        if trust.sha256(candidate) == run.record["log_sha256"]:
            artifacts.write_bytes(file, candidate)
            say(f"damaged: {problem}; made again from the checkpoints, as it was")
            return
    raise UserError(
        f"{problem}, in rows of training steps, which nothing else holds; restore it from a copy, or train again under "
        f"another name= (the checkpoints are as they were, and {file.parent / 'analysis'} needs no log)"
    )


def _rebuilt(data: bytes, whole: dict[int, Path]) -> bytes:
    """The log's rows of training steps, and among them the checkpoints' rows of evaluations, as the loop has them."""
    rows: list[tuple[int, int, bytes]] = []
    for line in data.split(b"\n"):
        row = _row(line)
        if isinstance(row, dict) and row.get("kind") == "train" and type(row.get("step")) is int:
            rows.append((row["step"], 0, line + b"\n"))
    for step, folder in whole.items():
        if (folder / SCORES).is_file():
            rows.append((step, 1, json.dumps(read_json(folder / SCORES)).encode() + b"\n"))
    return b"".join(line for _, _, line in sorted(rows, key=lambda row: row[:2]))


def _row(line: bytes) -> Any:
    try:
        return json_of(line.decode("utf-8"), "")
    except (UserError, UnicodeDecodeError):
        return None


def _mend_checkpoint(run: RunFolder, step: int, problem: str) -> None:
    """The last step's from `final` and the log; of another one, say what can be done."""
    folder, final = run.checkpoints / f"checkpoint-{step}", run.checkpoints / "final"
    row = next((row for row in map(_row, reversed(run.metrics.read_bytes().splitlines())) if _is_of(row, step)), None)
    if step != run.record.get("steps") or row is None:
        say(
            f"damaged: {without_remedy(problem)}; it cannot be made again without training anew: restore it from a "
            "copy, or remove it to go on without that step"
        )
        return
    aside = artifacts.set_aside(folder)
    try:
        with artifacts.new_folder(folder, kind="checkpoint") as made:
            for file in final.iterdir():
                if file.name != artifacts.MANIFEST:
                    shutil.copyfile(file, made / file.name)
            artifacts.dump_json(made / SCORES, row)
    except BaseException:
        if not folder.exists():
            aside.rename(folder)
        raise
    if wrong := trust.exchanged(folder, step, run.record.get("checkpoints", {})):
        artifacts.remove(folder, "checkpoint")
        aside.rename(folder)
        say(f"damaged: {without_remedy(problem)}; it cannot be made again as it was ({wrong})")
        return
    say(f"damaged: {without_remedy(problem)}; kept as {aside.name} and made again from final, as it was")


def _is_of(row: Any, step: int) -> bool:
    return isinstance(row, dict) and row.get("kind") == "eval" and row.get("step") == step
