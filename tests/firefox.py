"""A few words of Marionette, the protocol that Firefox speaks on a socket: one page, and nothing to install but it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

FIREFOX = shutil.which("firefox") or shutil.which("firefox-esr")
PREFERENCES = {
    "marionette.port": 0,  # a free one, which is written to the profile
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "services.settings.server": "data:,",
}
WAIT = 120  # seconds


class Window:
    """One window with one page."""

    def __init__(self, profile: Path) -> None:
        assert FIREFOX is not None
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
        profile.mkdir(parents=True, exist_ok=True)
        (profile / "user.js").write_text("".join(lines))
        command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", str(profile), "about:blank"]
        null = subprocess.DEVNULL
        environment = os.environ | {"HOME": str(profile), "MOZ_HEADLESS_WIDTH": "1280", "MOZ_HEADLESS_HEIGHT": "900"}
        self._process = subprocess.Popen(command, stdout=null, stderr=null, env=environment)
        self._socket = socket.create_connection(("127.0.0.1", self._port(profile / "MarionetteActivePort")), WAIT)
        self._stream = self._socket.makefile("rb")
        self._read()  # who it is
        self._number = 0
        self.call("WebDriver:NewSession", capabilities={})

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _port(self, file: Path) -> int:
        end = time.monotonic() + WAIT
        while not (file.is_file() and file.read_text().strip()):
            assert self._process.poll() is None, "Firefox has ended"
            assert time.monotonic() < end, "Firefox opens no port"
            time.sleep(0.1)
        return int(file.read_text())

    def _read(self) -> Any:
        """A message: its length in bytes, a colon, JSON."""
        length = b""
        while (digit := self._stream.read(1)) != b":":
            assert digit, "Firefox has ended"
            length += digit
        return json.loads(self._stream.read(int(length)))

    def call(self, command: str, **params: Any) -> Any:
        self._number += 1
        text = json.dumps([0, self._number, command, params]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, result = self._read()
        assert number == self._number and error is None, error
        return result

    def open(self, path: Path, view: str = "") -> None:
        """`view` is what stands behind the address's #."""
        self.call("WebDriver:Navigate", url="about:blank")
        self.call("WebDriver:Navigate", url=path.resolve().as_uri() + (f"#{view}" if view else ""))

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression about the document; it does not see what the page's script declares."""
        return self.call("WebDriver:ExecuteScript", script=f"return {script}", args=[], sandbox=None)["value"]

    def until(self, script: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never became true: {script}"
            time.sleep(0.05)
