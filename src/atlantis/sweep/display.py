"""What a sweep shows while it runs: a table that keeps itself up to date on a terminal, a line per run elsewhere.

Steps and losses are read from the runs' folders, so they are seen wherever the runs are carried out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlantis.errors import UserError
from atlantis.progress import console, printable, say
from atlantis.reading import json_of, read_json
from atlantis.sweep.child import Outcome
from atlantis.sweep.plan import Planned, Sweep

if TYPE_CHECKING:
    from rich.table import Table

TAIL_BYTES = 8192


class Display:
    """The state of every run of a sweep; `outcomes` is filled by `note`."""

    def __init__(self, sweep: Sweep, outcomes: dict[str, Outcome]) -> None:
        self.sweep, self.outcomes = sweep, outcomes
        self._terminal = console().is_terminal
        self._began = time.time()
        self._first_seen: dict[str, float] = {}

    def note(self, outcome: Outcome) -> None:
        """A run has ended. What was done before is said on a terminal only."""
        self.outcomes[outcome.name] = outcome
        if self._terminal or outcome.state == "was done":
            return
        wordings = {"done": f"done in {outcome.seconds:,.0f} s", "failed": f"failed: {outcome.message}"}
        wording = wordings.get(outcome.state, outcome.state)
        again = f", started {outcome.attempts} times" if outcome.attempts > 1 else ""
        say(f"{len(self.outcomes)} of {len(self.sweep.runs)}: {outcome.name}: {wording}{again}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """On a terminal, show the table until the block ends."""
        if not self._terminal:
            yield
            return
        from rich.live import Live

        with Live(get_renderable=self.table, console=console(), refresh_per_second=1, transient=True):
            yield

    def table(self) -> Table:
        """The runs that are being carried out and those that failed, with a count of all."""
        from rich.table import Table
        from rich.text import Text

        states = {run.name: self._state(run) for run in self.sweep.runs}
        counts = ", ".join(f"{n} {state}" for state, n in Counter(states.values()).items())
        table = Table("run", "", title=f"{self.sweep.name}: {counts}", title_justify="left")
        for heading in ("step", "loss", "time"):
            table.add_column(heading, justify="right", no_wrap=True)  # what is narrow are the names
        for run in self.sweep.runs:
            if states[run.name] in ("running", "failed"):
                row = (Text(text, overflow="ellipsis", no_wrap=True) for text in self._row(run, states[run.name]))
                table.add_row(*row)
        return table

    def _state(self, run: Planned) -> str:
        if run.name in self.outcomes:
            return self.outcomes[run.name].state
        log = self.sweep.folder / "logs" / f"{run.name}.log"
        return "running" if log.is_file() and log.stat().st_mtime >= self._began else "waiting"

    def _row(self, run: Planned, state: str) -> tuple[str, ...]:
        if state == "failed":
            return run.name, f"{state}: " + self.outcomes[run.name].message.partition("\n")[0], "", "", ""
        about, last = _read_json(run.folder / "run.json"), last_row(run.folder / "metrics.jsonl")
        steps, now = about.get("steps"), time.time()
        seconds = now - self._first_seen.setdefault(run.name, now)
        step = f"{last.get('step', 0):,}" + (f" of {steps:,}" if steps else "")
        loss = last.get("loss")
        return run.name, state, step, f"{loss:.3f}" if isinstance(loss, float) else "", f"{seconds:,.0f} s"


def run_list(sweep: Sweep) -> Table:
    """The runs that a sweep would make, and what varies in them."""
    from rich.table import Table
    from rich.text import Text

    table = Table("run", "", title=f"{sweep.name}: {len(sweep.runs)} runs", title_justify="left")
    for run in sweep.runs:
        factors = ", ".join(f"{key}={value}" for key, value in (run.factors or {}).items())
        table.add_row(run.name, Text("a base, made first" if run.factors is None else printable(factors)))
    return table


def summary(sweep: Sweep, outcomes: Sequence[Outcome]) -> Table:
    """A row for each run: what became of it, its last step and the loss there."""
    from rich.table import Table

    table = Table("run", "", title=sweep.name, title_justify="left")
    for heading in ("step", "loss", "starts"):
        table.add_column(heading, justify="right")
    for run, outcome in zip(sweep.runs, outcomes, strict=True):
        last = last_row(run.folder / "metrics.jsonl") if outcome.finished else {}
        loss = f"{last['loss']:.3f}" if isinstance(last.get("loss"), float) else ""
        starts = str(outcome.attempts) if outcome.attempts else ""
        table.add_row(run.name, outcome.state, f"{last['step']:,}" if last else "", loss, starts)
    return table


def last_row(log: Path) -> dict[str, Any]:
    """The last whole row of a metric log that has a loss; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json_of(line, str(log))
        except UserError:
            continue
        if isinstance(row, dict) and "loss" in row:
            return row
    return {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, UserError):
        return {}
