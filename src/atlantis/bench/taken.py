"""Records that were made elsewhere and are taken over: their runs and trials are not made again.

A tier that was begun on one machine goes on on another, where its runs are not; and a method of one's own stands beside
the others without the days that those took.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlantis import config as configs
from atlantis.bench.methods import Method
from atlantis.bench.record import BenchRecord, Trial, read_record, read_records, write_record
from atlantis.bench.scenarios import Case
from atlantis.errors import UserError
from atlantis.report.record import portable_config


@dataclass(frozen=True)
class Taken:
    """The `records` that were given; none: everything is made here."""

    records: Sequence[BenchRecord] = ()

    @classmethod
    def read(cls, paths: Iterable[Path], tier: str) -> Taken:
        """The records in files, and in folders of them. Raises UserError for those of another protocol or tier."""
        records = read_records(paths)
        for record in records:
            if record.protocol != 2 or record.tier != tier:
                raise UserError(
                    f"--records: {record.file_name} is of protocol {record.protocol} and the {record.tier} tier, and "
                    f"this is protocol 2 and the {tier} tier, which shares no table with it; give the records of this"
                )
        return cls(records)

    def trials(self, method: Method) -> list[Trial]:
        """What was tried of a method's strength; empty if no record has all of it, and for a method of one's own.

        Raises UserError if two records differ in it.
        """
        found: BenchRecord | None = None
        for record in self.records if method.key == method.name else ():
            if not _is_tuned(record, method):
                continue
            if found is not None and found.trials != record.trials:
                raise UserError(
                    f"--records: {found.file_name} and {record.file_name} have other trials of {method.name}; leave "
                    "one of them out"
                )
            found = record
        return found.trials if found else []

    def record(self, method: Method, seed: int, case: Case) -> BenchRecord | None:
        """The scores of a case whose runs have their method: of runs that were equal, if in another scenario."""
        if method.key != method.name:
            return None
        digest = configs.digest(portable_config(case.runs[-1]))
        return next(
            (
                record
                for record in self.records
                if (record.method, record.seed, record.config_digest) == (method.name, seed, digest)
                and record.error is None
            ),
            None,
        )

    def copy_to(self, folder: Path) -> None:
        """Write the records into `folder`, but for those that it has already, with scores."""
        for record in self.records:
            write_unless_there(folder, record)


def write_unless_there(folder: Path, record: BenchRecord) -> None:
    """Write a record into `folder`, unless one of an equal run is there, with scores."""
    file = folder / record.file_name
    before = read_record(file) if file.is_file() else None
    if before is None or before.error is not None or before.config_digest != record.config_digest:
        write_record(folder, record)


def _is_tuned(record: BenchRecord, method: Method) -> bool:
    """Whether a record has the trials of this very method: all of them, and none that failed."""
    if (record.method, record.setting) != (method.name, method.setting) or record.value is None:
        return False
    buffer = record.old_pairs if isinstance(record.old_pairs, int) else None
    tried = {trial.value for trial in record.trials if trial.error is None}
    return (
        record.strategy in (method.parts(record.value), method.parts(record.value, buffer))
        and set(method.values) <= tried == {trial.value for trial in record.trials}
        and tried <= {*method.values, *method.beyond}
    )
