"""A real Chromium without a window, by its DevTools protocol."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LONGEST = 120.0  # s that anything may take


def chromium() -> str:
    """Its path; skips the test where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium here: none of {', '.join(NAMES)} is on the path")
    return found


class Browser:
    """One page.

    Args:
        folder: For its profile.

    Attributes:
        errors: What the page has complained about.
    """

    def __init__(self, folder: Path) -> None:
        self.errors: list[str] = []
        self._number = 0
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--hide-scrollbars", "--window-size=1400,1650",
                 "--remote-debugging-port=0", f"--user-data-dir={folder}")  # fmt: skip
        self._opened = ExitStack()
        self._process = subprocess.Popen(
            [chromium(), *flags, "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            port = wait_for(lambda: _port(folder / "DevToolsActivePort"), "Chromium")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=LONGEST) as answer:
                pages = json.load(answer)
            address = next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page")
            connection = connect(address, max_size=2**26, open_timeout=LONGEST)
            self._socket = self._opened.enter_context(connection)
        except BaseException:
            self.close()
            raise
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends it with all its processes."""
        self._opened.close()
        os.killpg(self._process.pid, 9)
        self._process.wait(LONGEST)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Asks for something and waits for the answer."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(request))
        while True:
            message = json.loads(self._socket.recv(timeout=LONGEST))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._listen(message)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, what: str) -> None:
        """Waits until an expression is true."""
        wait_for(lambda: self.value(expression), what)

    def texts(self, selector: str) -> list[str]:
        """What is written in all elements, as shown."""
        return list(
            self.value(
                f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
            )
        )

    def screenshot(self, path: Path) -> None:
        """For people."""
        import base64

        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _listen(self, message: dict[str, Any]) -> None:
        method, content = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(content["exceptionDetails"]))
        if method == "Runtime.consoleAPICalled" and content["type"] in ("error", "assert"):
            self.errors.append(json.dumps(content["args"]))
        if method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.errors.append(json.dumps(content["entry"]))


def wait_for(condition: Any, what: str) -> Any:
    """The first true value of a condition."""
    end = time.monotonic() + LONGEST
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come within {LONGEST:.0f} s"
        time.sleep(0.1)
    return value


def _port(file: Path) -> str:
    return file.read_text().partition("\n")[0] if file.exists() else ""
