"""Commands of atlantis, run one after the other in a guarded child process, and what became of each.

The child is a fork of a process that has imported everything, so that a case takes milliseconds. (A sample of the cases
is given to new interpreters as well, without the hook.) In it

- an audit hook (PEP 578) forbids unpickling, starting processes and sockets, and notes every write outside the scene;
- the process has no network of its own where the system allows that, and limits on time, memory and file size;
- a case that takes more than 10 s of the processor, or two minutes in all, is killed and counted as a hang.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlantis.errors import OK, PART_FAILED, USER_MISTAKE

CPU_S, WALL_S = 10, 120
MEMORY = 2 << 30  # bytes beyond what the process has at the start
FILE_SIZE = 64 << 20
NO_NETWORK = False  # set by the suites
CLONE_NEWNET = 0x40000000

FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "pty.spawn")
SOCKETS = ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto")
WRITES = ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod")
NOTICE = re.compile(
    r"^(?!error: )[^\n]*: (?:[\d,]+ cit(?:y|ies)[; ]|left out|population|no country is known)[^\n]*\n", re.M
)
"""What is told of a file of cities, and may stand before an error that comes later."""
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

REFUSED, DONE, EITHER, PARTLY = "refused", "done", "either", "partly"


class Forbidden(PermissionError):
    """What the audit hook raises."""


@dataclass(frozen=True)
class Case:
    """One command in a scene.

    `prepare(scene)` puts the input there and returns the command's arguments. `expect`: CLEAN refusal, success, either
    of the two, or that a part is done and one message tells of the rest (exit code 1). `says`: what the message (or the
    output) must match. `writes`: where below the scene a success may change files that were there before.
    """

    name: str
    prepare: Callable[[Path], list[str]]
    expect: str = REFUSED
    says: str = ""
    writes: tuple[str, ...] = ()
    may_change: tuple[str, ...] = ()
    """Files that even a refusal may change: `run.json`, where a run notes that it was tried."""
    check: Callable[[Path], str] | None = None
    """Looks at the scene after a success; returns what is wrong, or nothing."""
    cpu_s: int = CPU_S


@dataclass(frozen=True)
class Verdict:
    name: str
    outcome: str  # "clean", "done", or "failed"
    problem: str
    seconds: float


def stamps(folder: Path) -> dict[str, str]:
    """Every file and folder below `folder`, and its number, size and time: what no writing leaves as it is."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in files:
            status = os.lstat(os.path.join(parent, name))
            key = os.path.relpath(os.path.join(parent, name), folder)
            found[key] = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
        found |= {os.path.relpath(os.path.join(parent, name), folder): "folder" for name in folders}
    return found


def contents(folder: Path) -> dict[str, str]:
    """Every file, folder and link below `folder`, and what is in it."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            key = path.relative_to(folder).as_posix()
            with contextlib.suppress(FileNotFoundError):  # gone in the meantime: a race is on
                found[key] = content(path)
    return found


def content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    if path.is_dir():
        return "folder"
    if path.is_file() and path.stat().st_size <= FILE_SIZE:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return f"special, {path.lstat().st_size} bytes"


class Guard:
    """The audit hook, and what it saw."""

    def __init__(self, scene: Path, allowed: Sequence[Path]) -> None:
        self.roots = [os.path.realpath(path) for path in (scene, *allowed)]
        self.seen: list[str] = []
        self.on = False

    def install(self) -> None:
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN or event in SOCKETS or event == "subprocess.Popen":
            if event == "subprocess.Popen" and list(arguments[1])[:2] == ["git", "-C"] and "describe" in arguments[1]:
                raise FileNotFoundError("no git in here")  # our own question for the commit; it does without an answer
            self._note(f"{event} {arguments!r}"[:200])
            raise Forbidden(event)
        if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self._inside(event, os.path.realpath(os.fsdecode(arguments[0])))
        elif event in WRITES:
            for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
                if isinstance(path, str | bytes | os.PathLike) and arguments[-1] in (-1, None, 0o777, 0o666):
                    name = os.path.abspath(os.fsdecode(path))
                    self._inside(event, os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name)))

    def _inside(self, event: str, path: str) -> None:
        if path != os.devnull and not any(path == root or path.startswith(root + "/") for root in self.roots):
            self._note(f"{event} outside the folder: {path}")
            raise Forbidden(path)

    def _note(self, what: str) -> None:
        self.seen.append(what)


def without_network() -> bool:
    """Leave the network for this process and all it starts; False where the system does not let us."""
    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0
    return False


# --- one case


Way = Callable[[list[str], Path, "Guard"], tuple[int, str, str]]
"""Runs a command in the current folder; its exit code and what was printed."""


def judged(case: Case, scene: Path, template: Path, guard: Guard, fresh: bool, way: Way | None = None) -> Verdict:
    """Run a case in a fresh scene; or in the last one, where what it makes is removed again."""
    if fresh or not scene.exists():
        shutil.rmtree(scene, ignore_errors=True)
        shutil.copytree(template, scene, symlinks=True)
    os.chdir(scene / "work")
    arguments = case.prepare(scene)
    tree = contents if fresh else stamps
    before = tree(scene)
    started = time.perf_counter()
    code, out, err = (way or _command)(arguments, scene, guard)
    seconds = time.perf_counter() - started
    for other in threading.enumerate():
        if other.name == "race":
            other.join()
    after = tree(scene)
    problem = "; ".join(guard.seen) or _problem(case, code, out, err, before, after)
    if not problem and (scene / "canary").exists():
        problem = "the canary is dead: foreign code ran"
    if not problem and code == 0 and case.check is not None:
        problem = case.check(scene)
    if not fresh:
        shutil.rmtree(scene / "work" / "w", ignore_errors=True)
    shown = (
        f"{problem}\n    atlantis {' '.join(arguments)[:150]!r}\n    {code}: {(err or out)[-400:]!r}" if problem else ""
    )
    return Verdict(case.name, "failed" if problem else "clean" if code else "done", shown, seconds)


def _command(arguments: list[str], scene: Path, guard: Guard) -> tuple[int, str, str]:
    """Exit code and what was printed, also by libraries that print past Python."""
    from atlantis import cli

    said = [scene.parent / f"{scene.name}.{stream}" for stream in ("out", "err")]
    kept = [os.dup(1), os.dup(2)]
    sys.stdout.flush()
    sys.stderr.flush()
    modules = set(sys.modules)
    for number, path in enumerate(said, start=1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
    guard.seen.clear()
    guard.on = True
    sys.argv = ["atlantis", *arguments]
    try:
        code = cli.main(arguments)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException as error:
        code = 70
        print(f"Traceback: {error!r}", file=sys.stderr)
    finally:
        guard.on = False
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
    for name in set(sys.modules) - modules:
        where = getattr(sys.modules[name], "__file__", None)
        if where and where.startswith(str(scene)):
            guard.seen.append(f"imported {where}")
            del sys.modules[name]
    out, err = (path.read_text(encoding="utf-8", errors="replace") for path in said)
    return code, out, err


def interpreted(arguments: list[str], scene: Path, guard: Guard) -> tuple[int, str, str]:
    """Exit code and what was printed, by a new interpreter; one that does not end is killed, and its code is 124."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "atlantis", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=WALL_S,
        )
    except subprocess.TimeoutExpired as hang:
        return 124, "", str(hang)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def _problem(case: Case, code: int, out: str, err: str, before: dict[str, str], after: dict[str, str]) -> str:
    if "Traceback" in err or "error: unexpected " in err:
        return "a traceback, or an error nobody foresaw"
    if UNPRINTABLE.search(out + err):
        return "control characters on the terminal"
    if code not in ((PART_FAILED,) if case.expect == PARTLY else (OK, USER_MISTAKE)):
        return f"exit code {code}"
    if (case.expect == REFUSED and code == 0) or (case.expect == DONE and code == 2):
        return f"exit code {code}, though it is to be {case.expect}"
    if not re.search(case.says, err if code else out + err, re.DOTALL):
        return f"does not say {case.says!r}"
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    changed = sorted(name for name in changed if not any(map(name.startswith, case.may_change)))
    message = NOTICE.sub("", err)
    if code != OK and (not message.startswith("error: ") or "\nerror: " in message):
        return "not one message"
    if code == USER_MISTAKE:
        return f"changed {changed[0]}" if changed else ""
    lost = [name for name in changed if name in before and not any(map(name.startswith, case.writes))]
    return f"changed {lost[0]}" if lost else ""


# --- many cases

Batch = Callable[[Callable[[Case], Verdict], Callable[[Verdict], None]], None]
"""Judges cases by its first argument and reports each verdict to its second."""


def run_cases(cases: Sequence[Case], template: Path, aside: Path, way: Way | None = None) -> list[Verdict]:
    """The verdicts of all cases; after one that kills its process a new process goes on with the next."""
    verdicts: list[Verdict] = []
    while len(verdicts) < len(cases):
        rest = cases[len(verdicts) :]

        def batch(judge: Callable[[Case], Verdict], report: Callable[[Verdict], None], rest: Any = rest) -> None:
            for case in rest:
                report(judge(case))

        verdicts += in_child(batch, template, aside, way=way)
        if len(verdicts) < len(cases):
            name = cases[len(verdicts)].name
            verdicts.append(Verdict(name, "failed", "the process was killed: a hang, or a crash", float(WALL_S)))
    return verdicts


killed = False
"""Whether the last child did not end by itself."""


def in_child(batch: Batch, template: Path, aside: Path, fresh: bool = True, way: Way | None = None) -> list[Verdict]:
    """The verdicts that a batch reported before its process ended, however it ended."""
    global killed
    aside.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _serve(batch, template, aside, writing, fresh, way)
    os.close(writing)
    found = [Verdict(**json.loads(line)) for line in _lines(reading, pid)]
    killed = os.waitpid(pid, 0)[1] != 0
    return found


def _serve(batch: Batch, template: Path, aside: Path, pipe: int, fresh: bool, way: Way | None) -> None:
    """The child's side."""
    try:
        scene = aside / "scene"
        shutil.rmtree(scene, ignore_errors=True)
        guard = Guard(scene, [aside])
        guard.install()
        sys.dont_write_bytecode = True
        os.environ |= {"TMPDIR": str(aside), "TORCHINDUCTOR_CACHE_DIR": str(aside / "inductor")}
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def judge(case: Case) -> Verdict:
            spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + case.cpu_s + 1, hard))
            return judged(case, scene, template, guard, fresh, way)

        def report(verdict: Verdict) -> None:
            os.write(pipe, json.dumps(vars(verdict)).encode() + b"\n")

        batch(judge, report)
        os._exit(0)
    except BaseException as error:
        os.write(2, f"the sandbox itself failed: {error!r}\n{traceback.format_exc()[-600:]}\n".encode())
        os._exit(1)


def _lines(pipe: int, pid: int) -> Iterator[bytes]:
    """Lines of a pipe until it ends; its writer is killed when it says nothing for `WALL_S`."""
    rest = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], WALL_S)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        data = os.read(pipe, 1 << 16)
        if not data:
            os.close(pipe)
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
