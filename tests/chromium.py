"""A few words of the Chrome DevTools Protocol over a pipe: enough for one page, and nothing to install but Chromium."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update
--no-first-run --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe""".split()  # noqa: SIM905


class Tab:
    """One tab. `events` is everything the page did: messages, errors, requests, dialogs."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        high_in, high_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out))

        def descriptors() -> None:  # the protocol's: commands come on 3, answers go to 4
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(command, preexec_fn=descriptors, close_fds=False, stdout=null, stderr=null)
        for end in (theirs_in, theirs_out, high_in, high_out):
            os.close(end)
        self.events: list[dict[str, Any]] = []
        self._buffer, self._number, self._session = b"", 0, ""
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self._session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(
            self._out, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], 120)[0], "Chromium does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "Chromium has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(
        self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, touch: bool = False, view: str = "",
        ready: str = "typeof views !== 'undefined'",
    ) -> None:  # fmt: skip
        """`view` is what stands behind the address's #; the page is there when `ready` is true in it."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url="about:blank")  # another # alone would load nothing
        self.call("Page.navigate", url=path.resolve().as_uri() + (f"#{view}" if view else ""))
        self.until(f"document.readyState === 'complete' && {ready}")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never became true: {script}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def point(self, x: float, y: float, kind: str = "mouseMoved", **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, name: str, shift: bool = False) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, modifiers=8 * shift)

    def downloads_to(self, folder: Path) -> None:
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def picture(self, path: Path, whole: bool = True) -> None:
        """A PNG of the window, or of the whole page."""
        clip = self._whole() if whole else {}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def _whole(self) -> dict[str, Any]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def troubles(self) -> list[dict[str, Any]]:
        """Messages on the console, exceptions, refused or made requests, dialogs: all that a quiet page does not do."""
        self.run("0")  # what has happened before this is in `events` after it
        return [event for event in self.events if _is_trouble(event)]


def _is_trouble(event: dict[str, Any]) -> bool:
    if event.get("method") == "Network.requestWillBeSent":
        asked = event["params"]
        return asked.get("type") != "Document" and not asked["request"]["url"].startswith("data:")
    return event.get("method") in (
        "Runtime.consoleAPICalled",
        "Runtime.exceptionThrown",
        "Log.entryAdded",
        "Page.javascriptDialogOpening",
    )
