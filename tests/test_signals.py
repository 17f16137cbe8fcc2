"""Which signals ask to stop, and who else may have a hand on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlantis import cli, signals

SOURCE = Path(cli.__file__).parents[2]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.STOPS}
    for number in signals.NOTICES:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.STOPS)
def test_each_is_noted_once_and_the_handlers_come_back(number: int) -> None:
    before = {number: signal.getsignal(number) for number in signals.STOPS}
    begun: list[int] = []
    with signals.requests(begun.append) as received:
        for _ in range(3):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert received == begun == [number]
    assert {number: signal.getsignal(number) for number in signals.STOPS} == before


def test_a_second_urgent_one_leaves_at_once_unless_it_is_the_first_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[int] = []
    with signals.requests(lambda _: None, again.append) as received:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert again == []
        monkeypatch.setattr(signals, "ONCE_S", 0.0)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert again == []
        os.kill(os.getpid(), signal.SIGTERM)
    assert (received, again) == ([signal.SIGUSR1], [signal.SIGTERM])
    monkeypatch.setattr(signal, "getsignal", signal.getsignal)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), signals.requests(lambda _: None):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_what_is_ignored_or_somebody_elses_stays_so() -> None:
    theirs: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda number, frame: theirs.append(number))
    with signals.handled(lambda *_: None), signals.requests(lambda _: None) as received:
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1):
            os.kill(os.getpid(), number)
    assert received == [signal.SIGUSR1] and theirs == [signal.SIGUSR2]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "stopped by SIGTERM\n"),
        (signal.SIGINT, "interrupted\n"),
        (signal.SIGHUP, "stopped by SIGHUP\n"),
    ],
)
def test_an_import_that_a_signal_broke_off_is_no_error_of_ours(
    number: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def importing(**_: object) -> None:  # as pydantic does
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException as stop:
            raise RuntimeError("error building a schema") from stop

    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("atlantis.cli.entry.app", importing)
    assert cli.main([]) == 128 + number and capsys.readouterr().err == said
    monkeypatch.setattr("atlantis.cli.entry.app", lambda **_: 1 / 0)
    assert cli.main([]) == 1 and "unexpected ZeroDivisionError" in capsys.readouterr().err


def test_one_that_an_import_swallowed_stops_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def swallowing(**_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except BaseException:
            begun.append("import")
        with signals.requests(lambda _: None):
            begun.append("training")

    monkeypatch.setattr("atlantis.cli.entry.app", swallowing)
    assert cli.main([]) == 143 and begun == ["import"] and signals.ending == []


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_a_command_that_is_still_starting_ends_with_one_line(number: int, said: str, tmp_path: Path) -> None:
    """A module of the first ones to be imported that takes its time, and another that swallows what is raised in it."""
    slow = (
        "import os, time\ntry:\n    os.kill(os.getpid(), NUMBER)\n    time.sleep(30)\nexcept BaseException:\n    pass\n"
    )
    (tmp_path / "typer.py").write_text(slow.replace("NUMBER", str(int(number))))
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from atlantis.cli import main; sys.exit(main(['list']))"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"{said}\n")


def test_another_thread_changes_nothing() -> None:
    before = {number: signal.getsignal(number) for number in signals.STOPS}
    within: list[bool] = []

    def work() -> None:
        with signals.requests(lambda _: None):
            within.append({number: signal.getsignal(number) for number in signals.STOPS} == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert within == [True]


@pytest.mark.parametrize(("prefix", "code"), [([], 129), (["nohup"], 0)])
def test_nohup_is_respected(prefix: list[str], code: int, tmp_path: Path) -> None:
    script = "import os, signal, sys; from pathlib import Path; from atlantis import cli, show\n"
    script += "show.summary = lambda path: os.kill(os.getpid(), signal.SIGHUP) or 'still here'\n"
    script += "sys.exit(cli.main(['show', '.']))"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.returncode == code and ("still here" in done.stdout) == (code == 0)
