"""A headless Chromium, driven by its DevTools protocol over two pipes: no driver, no port.

https://chromedevtools.github.io/devtools-protocol/ : a message is JSON that ends in a zero byte.
Chromium reads them from its file descriptor 3 and writes to 4.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT = 120.0  # seconds, for one answer on a busy machine

# The pipes have to be 3 and 4, and either may be a number that the other has now.
_LAUNCH = (
    "import os, sys; r, w = map(int, sys.argv[1:3]); "
    "os.dup2(r, 103); os.dup2(w, 104); os.dup2(103, 3); os.dup2(104, 4); "
    "os.close(103); os.close(104); os.execvp(sys.argv[3], sys.argv[3:])"
)
_KEYS = {
    **{"ArrowRight": 39, "ArrowDown": 40, "ArrowLeft": 37, "ArrowUp": 38},
    **{"Home": 36, "End": 35, "Tab": 9, "Enter": 13},
}


def find_browser() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab. problems: what the page wrote to the console as a warning or an error, what it threw
    and what its policy kept out; requests: every address that was asked for,
    without those that the policy stopped."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._buffer, self._number, self._session = b"", 0, ""
        self.problems: list[str] = []
        self._sent: dict[str, str] = {}
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    @property
    def requests(self) -> list[str]:
        return list(self._sent.values())

    def open(self, page: Path) -> None:
        self.problems.clear()
        self._sent.clear()
        self._call("Page.navigate", url=page.as_uri())
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page. Raises AssertionError if it throws."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, expression: str) -> None:
        until = time.monotonic() + TIMEOUT
        while not self.evaluate(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.05)

    def texts(self, selector: str) -> list[str]:
        """The text of every element of a selector that is shown, in the page's order."""
        return self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            ".filter(e => e.checkVisibility()).map(e => e.textContent)"
        )

    def move_to(self, selector: str) -> tuple[float, float]:
        """Put the pointer on the middle of the first element of a selector."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', inline: 'center'});"
            " const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, selector: str) -> None:
        x, y = self.move_to(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        code = _KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                **{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code},
                **(text if kind == "keyDown" else {}),
            )

    def write(self, text: str) -> None:
        """As typed into what has the focus."""
        self._call("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """An option of a list, whose menu is a window of its own that no click reaches."""
        self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            f" e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def screen(self, width: int, height: int = 900) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + TIMEOUT
        while True:
            answer = self._read(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], max(0, until - time.monotonic()))
            assert ready, f"Chromium gave no answer within {TIMEOUT:.0f} s"
            more = os.read(self._back, 1 << 16)
            assert more, "Chromium has ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(about["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and about["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.problems.append(json.dumps(about["args"]))
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self._sent[about["requestId"]] = about["request"]["url"]
        elif event == "Network.loadingFailed" and about.get("blockedReason") == "csp":
            self._sent.pop(about["requestId"], None)  # the policy stopped it before it left


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Run Chromium with a new profile in `folder`."""
    (to_read, to), (back, back_write) = os.pipe(), os.pipe()
    arguments = [
        *("--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}"),
        # It opens files of these tests only, and a container rarely has what its sandbox needs.
        *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        "--window-size=1200,900",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, str(to_read), str(back_write), program, *arguments],
        pass_fds=(to_read, back_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "chromium.log").open("wb"),
    )
    os.close(to_read)
    os.close(back_write)
    try:
        tab = Browser(to, back)
        yield tab
        tab._session = ""
        tab._call("Browser.close")
        process.wait(TIMEOUT)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(to)
        os.close(back)
