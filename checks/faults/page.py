"""docs/reliability.md from `reliability.md` (the prose) and `records/` (every figure): `python -m checks.faults.page`.

In the prose `{{name}}` stands for a table below, and `{{suite:path|format}}` for one number of that suite's newest
record. Records of `kills` with different seeds are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from checks.faults.common import RECORDS
from checks.pages import Records, table, write
from checks.records import ROOT, read_files

TEMPLATE = Path(__file__).with_name("reliability.md")
PAGE = ROOT / "docs" / "reliability.md"


def read_records(folder: Path = RECORDS) -> Records:
    """The newest record of each suite, but those of `--quick`; of `kills` the sum of the newest of each seed.

    A record of `peers` without Lightning, which is not among what the project installs, replaces none that has it.
    """
    files = list(read_files(folder).values())
    found = {content["suite"]: content for content in files}
    with_all = [content for content in files if content["suite"] == "peers" and content["results"]["lightning"]]
    found |= {"peers": with_all[-1]} if with_all else {}
    kills = {content["seed"]: content for content in files if content["suite"] == "kills"}
    if kills:
        sums = {key: sum(one[key] for one in kills.values()) for key in ("n", "seconds")}
        results = added([one["results"] for one in kills.values()])
        found["kills"] = found["kills"] | sums | {"results": results, "seed": " and ".join(map(str, kills))}
    return found


def added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers and lists of nested results added up, key by key."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, dict):
                total[key] = added([total.get(key, {}), value])
            else:
                total[key] = total[key] + value if key in total else value
    return total


def tallies(results: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every tally in a suite's results, with its path."""
    if isinstance(results, dict) and {"trials", "held"} <= results.keys():
        yield path, results
    elif isinstance(results, dict) and {"n", "failed"} <= results.keys():  # of inputs and hostile
        yield path, {"trials": results["n"], "held": results["n"] - results["failed"], "reasons": results["failures"]}
    elif isinstance(results, dict):
        for key, value in results.items():
            yield from tallies(value, f"{path}, {key}" if path else key)


TARGETS = {
    "kills": "1,000 kills at random moments and at every call of the writers: 0 lost runs, all RECOVER",
    "syscalls": "every file-system call killed: RECOVER; failed: CLEAN, then RECOVER; 0 violations of order",
    "resume": "every step byte-equal; signals: out within 10 s with 143 / 130; NaN: stops before the update",
    "disk": "full at 20 points of each writer, file-size limit, read-only: CLEAN, then RECOVER",
    "disks": "no flock, no fsync of folders, other renames, no home: the same bytes; two writers never meet",
    "damage": "truncated at every percent, 10,000 bit flips, missing, swapped: 100 % found; goes on, or refuses",
    "crowd": "one works, nine CLEAN; no unlock command; a clock ten years off",
    "sweeps": "200 kills of workers and coordinators, others frozen and revived: each run exactly once, as serially",
    "changed": "changed config, data or code: refused with the difference, or an explicit fork",
    "environments": "20 environments: the same hashes",
    "trust": "what decides a number, edited or exchanged: refused with one message, or made again with the same bytes",
    "inputs": "300 hand-written and 10,000 generated inputs: CLEAN, or as meant",
    "hostile": "at least 100 payloads: nothing run, no socket, no file outside the folder",
}


def overview(records: Records) -> str:
    rows = []
    for suite, target in TARGETS.items():
        if suite not in records:
            rows.append((suite, target, "not run", ""))
            continue
        found = list(tallies(records[suite]["results"]))
        trials, held = sum(t["trials"] for _, t in found), sum(t["held"] for _, t in found)
        killed = kills_in(suite, records[suite]["results"])
        rows.append((suite, target, f"{trials:,}" + (f" ({killed:,} kills)" if killed else ""), f"**{held:,}**"))
    return table(("suite", "must reach", "trials", "held"), rows)


def kills_in(suite: str, results: dict[str, Any]) -> int:
    """Kills that a suite whose trials may hold several has made."""
    if suite == "kills":
        return sum(one["kills"] for one in results.values())
    return sum(n for what, n in results["faults"].items() if what.endswith("killed")) if suite == "sweeps" else 0


def detail(suite: str) -> Callable[[Records], str]:
    def block(records: Records) -> str:
        if suite not in records:
            return f"*Not measured yet: there is no record of `{suite}`.*"
        record = records[suite]
        rows = [(path, f"{t['trials']:,}", f"{t['held']:,}") for path, t in tallies(record["results"])]
        return f"{table(('what', 'trials', 'held'), rows)}\n\n{about(record)}"

    return block


def kills(records: Records) -> str:
    if "kills" not in records:
        return "*Not measured yet: there is no record of `kills`.*"
    results = records["kills"]["results"]
    rows: list[tuple[str, ...]] = [
        (name, f"{found['kills']:,}", f"{found['lives']['trials']:,}", f"{found['lives']['held']:,}")
        for name, found in results.items()
    ]
    counts = [[int(cell.replace(",", "")) for cell in row[1:]] for row in rows]
    total = [sum(values) for values in zip(*counts, strict=True)]
    n_kills, n_runs, n_held = (f"{value:,}" for value in total)
    rows.append(("all", n_kills, n_runs, n_held))
    return f"{table(('killed while', 'kills', 'runs', 'RECOVER'), rows)}\n\n{about(records['kills'])}"


def sweeps(records: Records) -> str:
    if "sweeps" not in records:
        return "*Not measured yet: there is no record of `sweeps`.*"
    results = records["sweeps"]["results"]
    rows = [(what, f"{n:,}") for what, n in results["faults"].items()]
    rows += [("sweeps", f"{results['sweeps']['trials']:,}"), ("of which all held", f"{results['sweeps']['held']:,}")]
    return f"{table(('what', 'number'), rows)}\n\n{about(records['sweeps'])}"


def peers(records: Records) -> str:
    if "peers" not in records:
        return "*Not measured yet: there is no record of `peers`.*"
    systems = records["peers"]["results"]["systems"]
    rows = []
    for fault, label in (("kills", "killed once"), ("disk full", "disk full"), ("truncated", ""), ("flipped", "")):
        for key in next(iter(systems.values()))[fault] or {}:
            cells = [f"{found[fault][key]:,}" if found[fault] else "-" for found in systems.values()]
            rows.append((f"{label or f'newest checkpoint {fault}'}: {key}", *cells))
    return f"{table(('', *systems), rows)}\n\n{about(records['peers'])}"


def about(record: dict[str, Any]) -> str:
    """Where and when a record comes from, in one line below its table."""
    machine, versions = record["machine"], record["versions"]
    where = f"{machine['cpu']}, cores: {machine['cores']}; torch {versions['torch']}"
    return (
        f"<sub>{record['date'][:10]}, commit {record['commit']}, n {record['n']:,}, seed {record['seed']}, "
        f"{record['seconds']:,} s. {where}.</sub>"
    )


TABLES: dict[str, Callable[[Records], str]] = {
    "overview": overview,
    "kills": kills,
    "peers": peers,
    "sweeps": sweeps,
    **{suite: detail(suite) for suite in TARGETS if suite not in ("kills", "sweeps")},
}


if __name__ == "__main__":
    write(PAGE, TEMPLATE, read_records(), TABLES, "make faults")
