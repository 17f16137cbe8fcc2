"""A sweep from beginning to end: skip what is done, build what runs share, carry out the rest, record and gather."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pandas as pd

from atlantis import artifacts, signals
from atlantis import config as configs
from atlantis.errors import Interrupted, UserError
from atlantis.progress import say
from atlantis.report.export import csv_text
from atlantis.settings import RunConfig
from atlantis.sweep.child import Job, Outcome, Queue, attempts
from atlantis.sweep.display import Display
from atlantis.sweep.plan import Planned, Sweep
from atlantis.sweep.results import gather, why_unread

UNREAD = "is trained and finished, but its numbers cannot be read: {}"


class Backend(AbstractContextManager["Backend"], Protocol):
    """Where runs are carried out. Entered before the first of them and left after the last."""

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """One outcome for each job that the queue gives, in any order."""
        ...

    def stop(self, at_once: bool = False) -> None:
        """Let what runs save its state and end, and begin no more; called by a signal's handler."""
        ...


def carry_out(
    sweep: Sweep,
    backend: Backend,
    threads: int = 1,
    retries: int = 2,
    known: Sequence[Outcome] = (),
    record: Callable[[Planned], None] | None = None,
) -> list[Outcome]:
    """Carry out every run that is not finished, and keep the numbers of those that are.

    `threads`: for each run's process. `retries`: how often a run that died is started again. `known`: what became of
    runs that are left alone. `record` keeps a run's numbers, as soon as it is finished; without it they are gathered as
    one table at the end. A run whose numbers cannot be read has failed.
    A run that fails stops no other; its message is in its outcome, in `sweep.json` and in `failures.csv`. Raises
    Interrupted after a signal: the same call goes on.
    """
    outcomes: dict[str, Outcome] = {}
    display = Display(sweep, outcomes)
    by_name = {run.name: run for run in sweep.runs}

    def note(outcome: Outcome) -> None:
        display.note(outcome if outcome in known else _recorded(by_name[outcome.name], outcome, record))

    with backend, _summed_up(sweep, outcomes), display.shown(), _stopped_by_signals(backend) as received:
        for outcome in known:
            note(outcome)
        _take_stock(sweep, outcomes, note)
        queue = _queue(sweep, outcomes, note, lambda run: _job(sweep, run, threads, retries), received)
        for outcome in backend.run(queue):
            note(outcome)
        if record is None and not received:
            _gather(sweep, outcomes)
    if received:
        done = sum(outcome.finished for outcome in outcomes.values())
        raise Interrupted(
            f"{sweep.name}: stopped by {signal.Signals(received[0]).name}, {done} of {len(sweep.runs)} runs are done; "
            "the same command goes on",
            received[0],
        )
    return [outcomes[run.name] for run in sweep.runs]


def _queue(
    sweep: Sweep,
    outcomes: dict[str, Outcome],
    note: Callable[[Outcome], None],
    job: Callable[[Planned], Job],
    received: Sequence[int],
) -> Queue:
    """The runs without an outcome. One starts when its base is trained, and has failed where that has."""
    waiting = {run.name: run for run in sweep.runs if run.name not in outcomes}
    jobs = {name: job(run) for name, run in waiting.items()}
    by_name = {run.name: run for run in sweep.runs}

    def due() -> list[Job]:
        begin: list[Job] = []
        # Again and again: a run that cannot begin settles those that start from it.
        while settled := [run for run in waiting.values() if run.after not in by_name or run.after in outcomes]:
            for run in settled:
                del waiting[run.name]
                base = by_name.get(run.after or "")
                if base is None or _is_trained(base, outcomes):
                    begin.append(jobs[run.name])
                else:
                    state = "stopped" if received else "failed"
                    note(Outcome(run.name, state, f"its base {base.name} was not finished"))
        return begin

    return Queue(list(jobs.values()), due)


def _is_trained(run: Planned, outcomes: dict[str, Outcome]) -> bool:
    """Whether a run's weights are final, which they may be although its probe failed."""
    from atlantis.training.run import RunFolder

    if outcomes[run.name].finished:
        return True
    try:
        return RunFolder(run.folder, run.config, resume=True).finished
    except UserError:
        return False


def _gather(sweep: Sweep, outcomes: dict[str, Outcome]) -> None:
    """Write the table of all runs that are trained; one that cannot be read is left out of it, and has failed."""
    unread: dict[str, str] = {}
    gather(sweep, [run for run in sweep.runs if run.factors is not None and _is_trained(run, outcomes)], unread)
    for name, reason in unread.items():
        if outcomes[name].finished:
            outcomes[name] = replace(outcomes[name], state="failed", message=UNREAD.format(reason))


def _recorded(run: Planned, outcome: Outcome, record: Callable[[Planned], None] | None) -> Outcome:
    """The outcome of a run, once `record` has kept its numbers: it has failed if they cannot be read."""
    try:
        if record is not None and outcome.finished:
            record(run)
    except Exception as error:  # as in `gather`: whatever is wrong with one run is not the others' fault
        return replace(outcome, state="failed", message=UNREAD.format(why_unread(error)))
    return outcome


def _job(sweep: Sweep, run: Planned, threads: int, retries: int) -> Job:
    """What a worker needs; writes the run's config, every setting of it, where the worker reads it."""
    folder = sweep.folder.absolute()
    file = folder / "configs" / f"{run.name}.yaml"
    artifacts.write_text(file, configs.dump(run.config, file.parent))
    log, device = _log(sweep, run).absolute(), run.config.training.device
    return Job(run.name, file, run.folder.absolute(), log, device, threads, retries)


def _log(sweep: Sweep, run: Planned) -> Path:
    return sweep.folder / "logs" / f"{run.name}.log"


def _take_stock(sweep: Sweep, outcomes: Mapping[str, Outcome], note: Callable[[Outcome], None]) -> None:
    """Note what is finished and what cannot begin, and build the worlds and datasets of the rest, each once."""
    from atlantis.readout.analysis import is_probed
    from atlantis.training import build_inputs
    from atlantis.training.inputs import changed_cities
    from atlantis.training.run import RunFolder

    built: set[str] = set()
    compared: set[str] = set()
    for run in sweep.runs:
        if run.name in outcomes:
            continue
        try:
            folder = RunFolder(run.folder, run.config, resume=True)
            if folder.finished and folder.damage is None:
                for strategy in folder.changed_since:
                    say(f"{run.name}: was finished before {strategy} was changed; under another name it is made anew")
                world = artifacts.digest_of(run.config.world.model_dump(mode="json"))
                if world not in compared and (cities := changed_cities(folder)):
                    say(f"{run.name}: was made with another version of {cities}; under another name it is made anew")
                compared.add(world)
                if not run.config.evaluation.probe or is_probed(run.folder, run.config.probe):
                    note(Outcome(run.name, "was done", attempts=attempts(_log(sweep, run))))
                continue
        except UserError as error:
            note(Outcome(run.name, "failed", str(error)))
            continue
        inputs = _inputs_digest(run.config)
        if inputs not in built:
            try:
                build_inputs(run.config)
                built.add(inputs)
            except UserError as error:  # it may be this run's alone, such as a precision that its device has not
                note(Outcome(run.name, "failed", str(error)))


def _inputs_digest(config: RunConfig) -> str:
    return artifacts.digest_of([config.world.model_dump(mode="json"), config.dataset.model_dump(mode="json")])


@contextmanager
def _summed_up(sweep: Sweep, outcomes: dict[str, Outcome]) -> Iterator[None]:
    """At the end of the block, however it ends, write what became of the runs."""
    try:
        yield
    finally:
        _sum_up(sweep, outcomes)


def _sum_up(sweep: Sweep, outcomes: dict[str, Outcome]) -> None:
    """Write what became of every run to `sweep.json`, and the failures to `failures.csv`, if there are any."""
    rows = []
    for run in sweep.runs:
        outcome = outcomes.get(run.name, Outcome(run.name, "stopped"))
        about = {"state": outcome.state, "attempts": outcome.attempts, "seconds": round(outcome.seconds, 1)}
        about |= {"message": outcome.message} if outcome.message else {}
        is_base = {"made_for_others": True} if run.factors is None else {"factors": run.factors}
        rows.append({"name": run.name, **about, "config_digest": configs.digest(run.config), **is_base})
    command = shlex.join(["atlantis", *sys.argv[1:]])
    artifacts.write_json(sweep.folder / "sweep.json", {"name": sweep.name, "command": command, "runs": rows})
    failures = [(row["name"], row["message"]) for row in rows if row["state"] == "failed"]
    file = sweep.folder / "failures.csv"
    if failures:
        artifacts.write_text(file, csv_text(pd.DataFrame(failures, columns=["run", "message"])))
    else:
        Path(file).unlink(missing_ok=True)


@contextmanager
def _stopped_by_signals(backend: Backend) -> Iterator[list[int]]:
    """A list that receives the first signal; it stops the backend, and a second one stops it at once."""

    def begin(signum: int) -> None:
        say("\nstopping; the runs save their state (once more to leave at once)")
        backend.stop()

    with signals.requests(begin, lambda signum: backend.stop(at_once=True)) as received:
        yield received
