"""Locks on every kind of file system: two writers never meet, and nobody waits for the dead."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlantis import artifacts
from atlantis.artifacts import flock, leases
from atlantis.errors import UserError

SHIMS = Path(__file__).with_name("inputs") / "shims"
SOURCE = Path(artifacts.__file__).parents[2]
CODES = ("ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "ENOTSUP")


def python(code: str, *arguments: object, shim: str = "noflock", **variables: str) -> subprocess.Popen[str]:
    """A process on a file system without flock."""
    path = os.pathsep.join([str(SHIMS / shim), str(SOURCE)])
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def refuse(monkeypatch: pytest.MonkeyPatch, code: str = "ENOLCK") -> None:
    number = getattr(errno, code)

    def no_flock(descriptor: int, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    monkeypatch.setattr(flock, "_said", False)


def test_a_system_without_fcntl_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flock, "fcntl", None)
    with pytest.raises(UserError, match="atlantis runs on Linux and macOS"), artifacts.lock(tmp_path):
        pass


def claims(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if ".lease-" in name]


def another(path: Path, pid: int = 77, place: str = "0" * 12, state: str = leases.HELD) -> leases.Claim:
    """A claim of another machine (or of another process here)."""
    claim = leases.Claim.read(path.with_name(f"{path.name}.lease-{place}-{pid}-0-{'a' * 16}"))
    assert claim is not None
    claim.path.write_text(f"farhost\n{state}")
    return claim


HOLD = """
import sys; from pathlib import Path; from atlantis import artifacts
with artifacts.lock(Path(sys.argv[1])):
    print("held", flush=True); sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `run` without flock."""
    process = python(HOLD, tmp_path / "run")
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("code", CODES)
def test_without_flock_a_lease_takes_its_place(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, code)
    run = tmp_path / "run"
    for _ in range(2):
        with artifacts.lock(run):
            assert artifacts.is_locked(run) and len(claims(run)) == 1
            with pytest.raises(UserError, match=rf"another process \(pid {os.getpid()} on .+\) is working in this"):
                artifacts.lock(run).__enter__()
            assert len(claims(run)) == 1
        assert claims(run) == [] and not artifacts.is_locked(run)
    said = capsys.readouterr().err
    assert said.count("this file system has no locks") == 1 and str(run) in said.replace("\n", "")


def test_another_error_of_flock_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "EIO")
    with pytest.raises(OSError, match="Input/output"), artifacts.lock(tmp_path / "run"):
        pass


def test_folders_are_made_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    with artifacts.new_folder(tmp_path / "world", kind="world") as folder:
        (folder / "a").write_text("a")
        assert len(claims(tmp_path)) == 1
        artifacts.clear_leftovers(tmp_path)
        assert (folder / "a").exists()
    assert os.listdir(tmp_path) == ["world"] and artifacts.is_whole(tmp_path / "world")


RACE = """
import os, sys, time
from pathlib import Path
from atlantis import artifacts
from atlantis.artifacts import flock
from atlantis.errors import UserError
run, inside, end = Path(sys.argv[1]), Path(sys.argv[1] + ".inside"), time.monotonic() + float(sys.argv[2])
flock._said = True

def work():
    wins = meetings = 0
    while time.monotonic() < end:
        try:
            with artifacts.lock(run):
                try:
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                    time.sleep(0.001)
                    os.unlink(inside)
                except FileExistsError:
                    meetings += 1
                wins += 1
        except UserError:
            pass
    os.write(1, f"{wins} {meetings}\\n".encode())

children = []
for _ in range(8):
    if not (pid := os.fork()):
        work()
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""


def test_two_of_many_never_meet(tmp_path: Path) -> None:
    said, _ = python(RACE, tmp_path / "run", 1.0).communicate(timeout=60)
    counts = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert len(counts) == 8 and sum(wins for wins, _ in counts) >= 10
    assert sum(meetings for _, meetings in counts) == 0
    assert claims(tmp_path / "run") == []


STEAL = """
import os, sys, time
from pathlib import Path
from atlantis import artifacts
from atlantis.artifacts import flock, leases
from atlantis.errors import UserError
run = Path(sys.argv[1]); run.mkdir()
flock._said = True
for turn in range(8):
    dead = run / f".lock.lease-{leases.machine()}-4194305-0-{os.urandom(8).hex()}"
    dead.write_text("here\\nheld\\n")
    (tried := Path(f"{run}.tried-{turn}")).mkdir()
    start, children = time.monotonic() + 0.05, []
    for number in range(6):
        if not (pid := os.fork()):
            while time.monotonic() < start:
                pass
            try:
                with artifacts.lock(run):
                    os.write(1, b"1")
                    while len(os.listdir(tried)) < 5:  # until all others have tried
                        time.sleep(0.005)
            except UserError:
                (tried / str(number)).touch()
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    os.write(1, b"\\n")
"""


def test_of_many_that_take_over_from_the_dead_just_one_succeeds(tmp_path: Path) -> None:
    said, _ = python(STEAL, tmp_path / "run").communicate(timeout=60)
    assert said.splitlines() == ["1"] * 8
    assert claims(tmp_path / "run") == []


def test_a_killed_holder_is_followed_at_once_whatever_the_clock(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch)
    run = tmp_path / "run"
    (name,) = claims(run)
    for years in (-10, 0, 10):
        moment = time.time() + years * 365 * 86400
        os.utime(run / name, (moment, moment))
        assert artifacts.is_locked(run)
        with pytest.raises(UserError, match=f"pid {holder.pid} on"), artifacts.lock(run):
            pass
    holder.kill()
    holder.wait()
    assert claims(run) == [name] and not artifacts.is_locked(run)
    begun = time.monotonic()
    with artifacts.lock(run):
        assert time.monotonic() - begun < 1
        assert len(claims(run)) == 1 and claims(run) != [name]


def test_who_has_flock_honours_a_lease(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    run = tmp_path / "run"
    assert artifacts.is_locked(run)
    with pytest.raises(UserError, match=f"pid {holder.pid} on"), artifacts.lock(run):
        pass
    assert (run / ".lock").read_text() == ""
    holder.communicate()
    with artifacts.lock(run):
        pass


def test_who_asks_whether_a_folder_is_in_use_keeps_nobody_out(tmp_path: Path) -> None:
    with artifacts.lock(tmp_path):
        pass
    with open(tmp_path / ".lock", "rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        with pytest.raises(UserError, match="another process"), artifacts.lock(tmp_path):
            pass
        threading.Timer(flock.MOMENT, lambda: fcntl.flock(asking, fcntl.LOCK_UN)).start()
        with artifacts.lock(tmp_path):
            pass


def test_who_has_a_lease_honours_the_holder_of_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with artifacts.lock(run):
        other = python(HOLD, run)
        said = other.communicate(timeout=30)[1]
        assert other.returncode == 1 and f"pid {os.getpid()} on" in said and "by flock, which fails here" in said
        assert claims(run) == []
    refuse(monkeypatch)
    (run / ".lock").write_text(f"{2**22 + 1}\n{leases.machine()}\n5\nhere")  # killed while it had flock
    with artifacts.lock(run):
        pass
    (run / ".lock").write_text(f"{2**22 + 1}\n{'0' * 12}\n5\nfarhost")
    with pytest.raises(UserError, match=r"pid 4194305 on farhost, by flock, .* remove .*\.lock"), artifacts.lock(run):
        pass


def test_a_number_given_again_is_another_process(tmp_path: Path) -> None:
    start = leases.started(os.getpid())
    if not start:
        pytest.skip("only Linux tells when a process began")
    assert leases.is_alive(os.getpid(), start) and not leases.is_alive(os.getpid(), start + 1)
    path = tmp_path / ".lock"
    (tmp_path / f".lock.lease-{leases.machine()}-{os.getpid()}-{start + 1}-{'b' * 16}").write_text("here\nheld\n")
    assert leases.holder(path) is None and claims(tmp_path) == []


def test_another_machines_claim_is_kept_while_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    claim = another(path)
    with pytest.raises(leases.Busy, match="pid 77 on farhost"):
        leases.acquire(path)
    assert leases.holder(path) == "pid 77 on farhost" and claim.path.exists()


@pytest.mark.parametrize("age", [-3 * 365 * 86400, 3600, 10 * 365 * 86400])
def test_another_machines_claim_is_watched_before_it_is_removed(
    age: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its clock says: one that is touched meanwhile is alive, one that is not is gone."""
    monkeypatch.setattr(leases, "WATCH_S", 0.3)
    path = tmp_path / ".lock"
    claim = another(path)
    stop = threading.Event()

    def beat() -> None:
        for number in range(10_000):
            moment = time.time() - age + number
            os.utime(claim.path, (moment, moment))
            if stop.wait(0.05):
                return

    beating = threading.Thread(target=beat)
    beating.start()
    time.sleep(0.02)
    with pytest.raises(leases.Busy):
        leases.acquire(path)
    stop.set()
    beating.join()
    begun = time.monotonic()
    while artifacts.is_locked(tmp_path) or leases.holder(path):
        time.sleep(0.01)
    assert time.monotonic() - begun >= 0.2 and not claim.path.exists()
    assert "pid 77 on farhost seems to be gone" in " ".join(capsys.readouterr().err.split())
    claim = another(path, 78)
    os.utime(claim.path, (time.time() - age, time.time() - age))
    begun = time.monotonic()
    leases.acquire(path).remove()
    assert time.monotonic() - begun >= 0.3 and claims(tmp_path) == []


def test_who_has_flock_outwaits_a_machine_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command is a new process, which has watched nobody before: it must wait, or it would be refused for ever."""
    monkeypatch.setattr(leases, "WATCH_S", 0.3)
    run = tmp_path / "run"
    run.mkdir()
    claim = another(run / ".lock")
    os.utime(claim.path, (time.time() - 7200, time.time() - 7200))
    begun = time.monotonic()
    with artifacts.lock(run):
        assert time.monotonic() - begun >= 0.3 and not claim.path.exists()
    another(run / ".lock", 78)
    with pytest.raises(UserError, match="pid 78 on farhost"), artifacts.lock(run):
        pass


def test_a_lease_is_touched_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    with leases.held(tmp_path / ".lock"):
        (file,) = tmp_path.iterdir()
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 10
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert file.stat().st_mtime > 0
        file.unlink()  # by whoever tidies up: it comes back
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(leases.Busy):
            leases.acquire(tmp_path / ".lock")
    assert list(tmp_path.iterdir()) == []


def test_who_has_lost_its_lease_leaves(tmp_path: Path) -> None:
    code = """
import sys, time; from pathlib import Path; from atlantis.artifacts import leases
leases.BEAT_S = 0.1
with leases.held(Path(sys.argv[1])):
    print(flush=True); time.sleep(30)
"""
    process = python(code, tmp_path / ".lock")
    assert process.stdout is not None and process.stdout.readline()
    another(tmp_path / ".lock")
    (own,) = (file for file in tmp_path.iterdir() if f"-{process.pid}-" in file.name)
    own.unlink()
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 1 and "pid 77 on farhost has taken this folder" in " ".join(said.split())


def test_leftovers_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process killed here left goes; what another machine may be at work on stays until it is known to be."""
    refuse(monkeypatch)
    monkeypatch.setattr(leases, "WATCH_S", 0.0)
    dead, here = 2**22 + 1, leases.machine()
    for name, machine in (("mine", here), ("theirs", "0" * 12)):
        (tmp_path / f".{name}.partial-{dead}").mkdir()
        (tmp_path / f".{name}.partial-{dead}" / artifacts.MANIFEST).write_bytes(artifacts.BEGUN + machine.encode())
    (tmp_path / f".born.partial-{dead}").mkdir()
    (tmp_path / f".a.json.tmp-{dead}").touch()
    another(tmp_path / f".orphan.partial-{dead}", dead, here)
    (tmp_path / f".leased.partial-{dead}").mkdir()
    (tmp_path / f".leased.partial-{dead}" / artifacts.MANIFEST).write_bytes(artifacts.BEGUN + b"0" * 12)
    living = another(tmp_path / f".leased.partial-{dead}", dead)
    artifacts.clear_leftovers(tmp_path)
    kept = {f".{name}.partial-{dead}" for name in ("theirs", "leased")}
    assert set(os.listdir(tmp_path)) == kept | {living.path.name}
    os.utime(living.path, (0, 0))
    artifacts.clear_leftovers(tmp_path)
    artifacts.clear_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [f".theirs.partial-{dead}"]


def test_a_folder_killed_in_the_making_without_flock_is_cleared(tmp_path: Path) -> None:
    code = """
import os, sys; from pathlib import Path; from atlantis import artifacts
with artifacts.new_folder(Path(sys.argv[1]), kind="world") as f:
    (f / "half").touch(); os.kill(os.getpid(), 9)
"""
    make = "import sys; from pathlib import Path; from atlantis import artifacts\n"
    make += "with artifacts.new_folder(Path(sys.argv[1]), kind='world') as f: (f / 'a').touch()"
    first = python(code, tmp_path / "world")
    first.communicate()
    assert first.returncode == -9 and len(os.listdir(tmp_path)) == 2
    second = python(make, tmp_path / "world")
    assert second.communicate()[1].count("no locks") == 1 and second.returncode == 0
    assert os.listdir(tmp_path) == ["world"]


def test_a_folder_that_is_cleared_away_before_its_lock_is_seen_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch)
    acquire = leases.acquire

    def late(path: Path) -> leases.Claim:
        path.rmdir()
        return acquire(path)

    monkeypatch.setattr(leases, "acquire", late)
    with artifacts.new_folder(tmp_path / "world", kind="world") as folder:
        (folder / "a").write_text("a")
    assert artifacts.is_whole(tmp_path / "world") and os.listdir(tmp_path) == ["world"]
