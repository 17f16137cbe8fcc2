"""Resume with a config, data or code that has changed: refused with the difference, or an explicit fork."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis import cli
from checks.faults.common import (
    RUN,
    TRAIN,
    Options,
    Outcome,
    Tally,
    command,
    copy,
    counted,
    fork,
    not_clean,
    not_recovered,
    run,
    whole_artifacts,
)
from checks.faults.damage import stopped_run

CONFIG = {
    "training.learning_rate": "4e-3",
    "training.batch_size": "16",
    "training.epochs": "4",
    "training.seed": "7",
    "training.weight_decay": "0.1",
    "training.warmup_steps": "4",
    "dataset.n_train": "150",
    "dataset.seed": "43",
    "model.seed": "43",
    "model.hidden_size": "32",
    "world.seed": "7",
    "evaluation.n_items": "4",
    "tokenizer.kind": "city",
}


def suite(lab: Path, options: Options) -> dict[str, Any]:
    stopped = stopped_run(lab)
    results: dict[str, Any] = {}
    config = Tally()
    for key, value in list(CONFIG.items())[:: 6 if options.quick else 1]:
        trial = copy(stopped, "trial")
        config.add(_refused(trial, command(*TRAIN, f"{key}={value}"), rf"{re.escape(key)}: .* -> "))
    results["config"] = config.as_dict()
    data = Tally()
    for old, new in (("Shanghai", "Shang-hai"), ("31.2", "31.3"), ("\n", "\nElsewhere,0.0,0.0,XX,1\n")):
        trial = copy(stopped, "trial")
        text = (trial / "cities.csv").read_text()
        (trial / "cities.csv").write_text(text.replace(old, new, 1) if old != "\n" else _without_last(text))
        if (trial / "cities.csv").read_text() != text:
            data.add(_refused(trial, command(*TRAIN), r"cities\.csv has been changed since"))
    results["data"] = data.as_dict()
    code, forked = Tally(), Tally()
    for change in (_other_source, _other_torch):
        trial = copy(stopped, "trial")
        code.add(_refused(trial, change(*TRAIN), r"(atlantis|torch): \S+ -> \S+"))
        outcome = fork(change(*TRAIN, "--fork"), trial).wait()
        reasons = not_recovered(outcome, trial, counted(lab / "done"))  # the other code computes the same here
        noted = json.loads((trial / RUN / "run.json").read_text()).get("forks", [])
        forked.add(reasons + ([] if len(noted) == 1 else ["the fork is not on record"]))
    trial = copy(stopped, "trial")
    forked.add(not_recovered(run(trial, *TRAIN, "--fork"), trial, counted(lab / "done")))
    return results | {"code": code.as_dict(), "fork": forked.as_dict()}


def _without_last(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[0] + "\n"


def _refused(trial: Path, work: Callable[[], int], difference: str) -> list[str]:
    before = whole_artifacts(trial)
    outcome: Outcome = fork(work, trial).wait()
    reasons = not_clean(outcome, trial, before)
    return reasons + ([] if re.search(difference, outcome.said) else [f"no difference: {outcome.said[-300:]}"])


def _other_source(*arguments: str) -> Callable[[], int]:
    def work() -> int:
        from atlantis.training import provenance

        code = provenance.code_digests
        provenance.code_digests = lambda config: code(config) | {"atlantis": "0123456789ab"}
        return cli.main(list(arguments))

    return work


def _other_torch(*arguments: str) -> Callable[[], int]:
    def work() -> int:
        from atlantis.training import provenance

        code = provenance.code_digests
        provenance.code_digests = lambda config: code(config) | {"torch": "1.0.0"}
        return cli.main(list(arguments))

    return work
