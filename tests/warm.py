"""An interpreter that starts in milliseconds: forked from one that has imported PyTorch, transformers and the rest.

Most of the time of a tiny run in a process of its own goes into imports. `Warm.python` is a program that takes the
place of `sys.executable`: it hands its arguments, folder, environment and standard streams to a server, which forks;
the fork runs what Python would run. Signals are passed on, and the program ends as the fork does, killed by the same
signal if need be; when the program is killed, so is the fork. Only what Python reads as it starts is as it was in the
server: PYTHONHASHSEED, and how many threads there are (one).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# Modules that a run, its report or a table of results needs, some of which are imported late.
SLOW = (
    "torch", "torch._dynamo", "transformers", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.linear_model",
    "joblib", "matplotlib.figure", "matplotlib.backends.backend_agg", "atlantis.training", "atlantis.report.page",
    "atlantis.report.figures", "atlantis.sweep.results", "atlantis.bench",
)  # fmt: skip
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
numbers = {numbers}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.connect({address!r})
asked = dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
asked = json.dumps(asked).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
answers = server.makefile("rb")
pid = int(answers.readline())
def pass_on(number, frame):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has just ended, and its exit code is on the way
for number in numbers:
    signal.signal(number, pass_on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Warm:
    """A server and, in `folder`, the program `python` that asks it; `close` ends the server."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "python"
        address = folder / "socket"
        numbers = [int(number) for number in PASSED_ON]
        self.python.write_text(PROGRAM.format(python=sys.executable, numbers=numbers, address=str(address)))
        self.python.chmod(0o700)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(address))
        listening.listen(64)
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno()), str(self.python)],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        listening.close()

    def close(self) -> None:
        self._server.communicate()


def serve(listening: socket.socket) -> None:
    """Fork an attendant for whoever connects, until standard input ends, as it does when the tests have."""
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        caller, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            attend(caller)
        caller.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # attendants that have ended
                pass


def attend(caller: socket.socket) -> NoReturn:
    """Fork what does the work, tell the caller its process id and how it ends; kill it when the caller is gone."""
    length, descriptors, _, _ = socket.recv_fds(caller, 8, 3)
    asked = json.loads(caller.makefile("rb").read(int.from_bytes(length, "big")))
    pid = os.fork()
    if pid == 0:
        work(caller, descriptors, asked)
    for descriptor in descriptors:
        os.close(descriptor)
    with suppress(OSError):  # the caller is gone already
        caller.sendall(f"{pid}\n".encode())
    watch = os.fork()
    if watch == 0:
        caller.recv(1)  # a caller says nothing more, so this is its end
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    os.kill(watch, signal.SIGKILL)
    with suppress(OSError):
        caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def work(caller: socket.socket, descriptors: list[int], asked: dict[str, Any]) -> NoReturn:
    """Be the interpreter that was asked for: its streams, folder, environment and arguments.

    Ends as Python does, but leaves it to the system to free the memory: to take the modules down takes a second.
    """
    caller.close()
    os.setsid()
    for number, (descriptor, name) in enumerate(zip(descriptors, ("stdin", "stdout", "stderr"), strict=True)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        stream = open(number, "w" if number else "r", buffering=1 if number == 2 else -1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    code = 0
    try:
        run(asked["arguments"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> None:
    """What `python` does with these arguments: `-m module`, `-c code` or a script, each with its own."""
    first, *rest = arguments[1:] if arguments[0] == "-u" else arguments
    if first == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")


def import_slow() -> None:
    for module in SLOW:
        __import__(module)
    import matplotlib
    import torch

    matplotlib.use("Agg")
    torch.set_num_threads(1)
    from tests import maps

    maps.remember()


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # for `tests`, and no longer than that
    listening = socket.socket(fileno=int(sys.argv[1]))
    if sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:  # else nobody ever connected
        import_slow()
        del sys.path[0]
        sys.executable = sys.argv[2]
        gc.freeze()  # no fork looks through what all share
        serve(listening)
