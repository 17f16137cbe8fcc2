"""What a run's folder says of itself, checked before it is believed: its record, its config, its metric log.

- `run.json` ends with a seal, a digest of everything else in it. Whoever edits it by hand gets one message.
- It holds the config with which the run was begun: another rate in `config.yaml` is found, and named.
- Of a finished run it holds the SHA-256 of the metric log and of every checkpoint.

Records of older versions have none of this, and are taken as they are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.reading import read_json
from atlantis.settings import RunConfig

RECORD, LOG, CONFIG = "run.json", "metrics.jsonl", "config.yaml"
NUMBER, OPTIONAL_TEXT = (int, float), (str, type(None))
TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "command": (str, list),
    "created": OPTIONAL_TEXT,
    "finished": OPTIONAL_TEXT,
    "status": str,
    "versions": dict,
    "commit": OPTIONAL_TEXT,
    "seeds": dict,
    "dataset": dict,
    "digests": dict,
    "code": dict,
    "forks": list,
    "extends": dict,
    "base": (dict, str),
    "device": (dict, str),
    "steps": int,
    "training_seconds": NUMBER,
    "processor_seconds": NUMBER,
    "config": dict,
    "config_digest": str,
    "stretches": list,
    "log_bytes": int,
    "log_sha256": str,
    "checkpoints": dict,
    "weights": str,
    "seal": str,
}
"""The types of what a record may hold; other keys may be anything."""
WITH_SEAL = ("config", "config_digest", "stretches", "log_sha256", "checkpoints", "weights")
"""Facts that only a record with a seal has."""


# --- the record


def read_record(run: Path) -> dict[str, Any]:
    """`run.json` of the run at `run`; empty if there is none.

    Raises UserError if it is no JSON, if a fact is of another type, or if it was changed since it was written.
    """
    file = run / RECORD
    remedy = f"bring it back, or remove it and go on with `atlantis train {run / CONFIG} --resume`"
    try:
        record = read_json(file)
    except FileNotFoundError:
        return {}
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    if wrong := next(filter(None, (_wrong(key, value) for key, value in record.items())), None):
        raise UserError(f"{file}: {wrong}; {remedy}")
    unsealed = "seal" not in record and not record.keys().isdisjoint(WITH_SEAL)
    if unsealed or ("seal" in record and record["seal"] != seal_of(record)):
        raise UserError(f"{file}: has been changed since it was written; {remedy}")
    return record


def write_record(run: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json`, its seal last."""
    plain = artifacts.plain({key: value for key, value in record.items() if key != "seal"})
    artifacts.write_json(run / RECORD, plain | {"seal": seal_of(plain)})


def seal_of(record: Mapping[str, Any]) -> str:
    """The digest of all facts of a record but the seal."""
    try:
        return artifacts.digest_of({key: value for key, value in record.items() if key != "seal"})
    except ValueError:  # NaN or infinity, or a lone surrogate: nothing that we write
        return "none"


def _wrong(key: str, value: Any) -> str | None:
    """What is wrong with one fact of a record."""
    expected = TYPES.get(key, object)
    # To Python True is an int; in a record it is no number.
    if not isinstance(value, expected) or (isinstance(value, bool) and expected in (int, NUMBER)):
        names = [kind.__name__ for kind in (expected if isinstance(expected, tuple) else (expected,))]
        return f"{key} must be of type {' or '.join(names)}, not {type(value).__name__}"
    if isinstance(value, int | float):
        wrong = expected is not object and not 0 <= value < math.inf
        return f"{key} must be a number of at least 0, not {value}" if wrong else None
    if key in ("digests", "code", "checkpoints") and not all(isinstance(digest, str) for digest in value.values()):
        return f"{key} must hold digests"
    if key == "stretches" and not all(isinstance(span, dict) and type(span.get("from")) is int for span in value):
        return f"{key} must hold a group of facts for each stretch, with the step it is `from`"
    return None


# --- the config


def config_facts(config: RunConfig) -> dict[str, Any]:
    """Every setting that decides a number by its dotted key, without the folders of a machine."""
    facts = configs.flat(config)
    named = {key: Path(facts[key]).name for key in ("world.cities", "base") if isinstance(facts.get(key), str)}
    return facts | named


def config_digest(config: RunConfig) -> str:
    """A digest of `config_facts`; a setting at its default adds nothing, so that a later version may have more."""
    defaults = config_facts(RunConfig())
    return artifacts.digest_of(
        {key: value for key, value in config_facts(config).items() if value != defaults.get(key)}
    )


def check_config(run: Path, record: Mapping[str, Any], config: RunConfig) -> None:
    """UserError naming the keys if `config`, read from the run's folder, is not the one that the run was begun with."""
    if "config" not in record:
        return
    before, now, defaults = record["config"], config_facts(config), config_facts(RunConfig())
    absent = object()
    keys = [key for key in {**before, **now} if before.get(key, absent) != now.get(key, absent)]
    # A setting that is younger than the run, and as it always was.
    keys = [key for key in keys if key in before or now[key] != defaults.get(key, absent)]
    if keys:
        lines = [f"{key}: {before.get(key, '(absent)')} -> {now.get(key, '(absent)')}" for key in keys]
        raise UserError(
            f"{run / CONFIG}: has been changed since the run was begun, and a run has one config from its beginning to "
            "its end; change it back, or give the new config another name=. The difference:\n  " + "\n  ".join(lines)
        )


# --- the log


def log_facts(log: Path) -> dict[str, Any]:
    """Length and SHA-256 of a metric log, for the record of a finished run."""
    data = log.read_bytes() if log.is_file() else b""
    return {"log_bytes": len(data), "log_sha256": sha256(data)}


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def log_problem(run: Path, record: Mapping[str, Any]) -> str | None:
    """What is wrong with the metric log of a finished run; None if it is as it was, or if that is not known."""
    if record.get("status") != "finished" or "log_sha256" not in record:
        return None
    if log_facts(run / LOG)["log_sha256"] == record["log_sha256"]:
        return None
    return f"{run / LOG}: has been changed since the run was finished"


# --- checkpoints


def checkpoint_seal(folder: Path) -> str | None:
    """A digest of all files of a checkpoint, by its manifest; None for one without."""
    record = artifacts.manifest(folder)
    return None if record is None else artifacts.digest_of(record["files"])


def exchanged(folder: Path, step: int, seals: Mapping[str, str]) -> str | None:
    """What is wrong with a checkpoint, as whole as it may be, that is not the one which the run wrote at this step."""
    if seals.get(str(step)) in (None, checkpoint_seal(folder)):
        return None
    return f"{folder}: is not the checkpoint that this run wrote at step {step}; bring that back"


def weights_digest(checkpoint: Path) -> str | None:
    """SHA-256 of a whole checkpoint's weights, by its manifest."""
    record = artifacts.manifest(checkpoint) or {"files": {}}
    return record["files"].get("model.safetensors", {}).get("sha256")


def foreign_final(final: Path, record: Mapping[str, Any]) -> str | None:
    """What is wrong with the `final` of a finished run, as whole as it may be, that has not the weights of its end."""
    own = weights_digest(final)
    return None if own == record.get("weights", own) else f"{final}: is of another run"


# --- a whole run


def checked_record(run: Path) -> dict[str, Any]:
    """`run.json`, if record, config and the log of a finished run are as they were written; for all who only read.

    Raises UserError for the first that is not.
    """
    record = read_record(run)
    if "config" in record and (run / CONFIG).is_file():
        check_config(run, record, configs.load_of_run(run))
    if problem := log_problem(run, record):
        raise UserError(f"{problem}; `atlantis train {run / CONFIG} --resume` repairs it, or says why it cannot")
    return record
