"""A real browser for tests: Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
)
PATIENCE_S = 60


def find_chromium() -> str:
    """The browser's program, or a skip that says what to install."""
    names = (os.environ.get("FANLIGHT_TEST_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: install chromium, or name its program in FANLIGHT_TEST_CHROMIUM")
    return found


class Page:
    """One page of the browser.

    Args:
        connection: to the page's DevTools.

    Attributes:
        problems: what went wrong inside the page: exceptions, failed loads, blocked scripts and styles.
        dialogs: the kinds of the browser's own dialogs; each was answered with yes.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.number = connection, 0
        self.problems: list[str] = []
        self.dialogs: list[str] = []
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something, and return the browser's answer."""
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.connection.recv(timeout=PATIENCE_S))
            if told.get("id") == self.number:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        method, parameters = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(parameters["type"])
            self.connection.send(
                json.dumps({"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}})
            )

    def open(self, url: str) -> None:
        """Go to an address, and wait until the page's scripts are there."""
        self.send("Page.navigate", url=url)
        self.wait_for("document.documentElement.dataset.ready === 'true'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, promises awaited."""
        told = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        script = f"(() => {{ try {{ return Boolean({expression}) }} catch {{}} }})()"
        wait_until(lambda: self.value(script), expression)

    def text(self, selector: str) -> str:
        """The text that an element shows."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def press(self, selector: str) -> None:
        """Click in the middle of an element, with the mouse."""
        script = f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: 'nearest'}});
            const r = element.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2];
        }})()"""
        place = self.value(script)
        self.drag(place, place)

    def drag(self, start: list[float], end: list[float], steps: int = 5) -> None:
        """Press the mouse's button at one place of the window, and let go at another one."""
        self.mouse("mouseMoved", start)
        self.mouse("mousePressed", start)
        for step in range(1, steps + 1) if start != end else ():
            share = step / steps
            self.mouse("mouseMoved", [a + share * (b - a) for a, b in zip(start, end, strict=True)])
        self.mouse("mouseReleased", end)

    def mouse(self, kind: str, place: list[float]) -> None:
        """One event of the mouse."""
        held = kind == "mousePressed" or kind == "mouseReleased"
        button = "left" if held else "none"
        x, y = place
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=int(held))

    def key(self, key: str, modifiers: int = 0) -> None:
        """Press a key; modifiers: 2 is Ctrl, 8 Shift."""
        codes = {"Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        code = codes.get(key, ord(key.upper()[0]))
        text = {"text": key} if len(key) == 1 and not modifiers & 2 else {}
        same = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **same, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **same)

    def drop(self, files: list[Path], place: list[float]) -> None:
        """Drag files from the desktop onto a place of the window."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        x, y = place
        for kind in ("dragEnter", "dragOver", "dragOver", "dragOver", "drop"):  # a hand takes a while, too
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def resize(self, width: int, height: int, phone: bool = False, ratio: float = 1.0) -> None:
        """Give the window another size in CSS px."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=ratio,
            mobile=phone,
        )

    def shoot(self, path: Path, whole: bool = False) -> None:
        """Save a picture of the window, or of the whole page, as PNG."""
        told = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def open_page(folder: Path, flags: tuple[str, ...] = ()) -> Iterator[Page]:
    """Start a browser of one page; its profile and its downloads are in ``folder``."""
    profile, downloads = folder / "profile", folder / "downloads"
    downloads.mkdir(parents=True)
    command = [find_chromium(), *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    with (folder / "chromium.log").open("wb") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        lines = wait_until(lambda: _read(profile / "DevToolsActivePort"), "the browser").split()
        with connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_size=None, proxy=None) as root:
            control = Page.__new__(Page)
            control.connection, control.number, control.problems = root, 0, []
            target = control.send("Target.getTargets")["targetInfos"]
            page_id = next(info["targetId"] for info in target if info["type"] == "page")
            control.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
            address = f"ws://127.0.0.1:{lines[0]}/devtools/page/{page_id}"
            with connect(address, max_size=None, proxy=None) as connection:
                yield Page(connection)
            control.connection.send(json.dumps({"id": 99, "method": "Browser.close"}))
            browser.wait(PATIENCE_S)
    finally:
        if browser.poll() is None:
            browser.kill()
            browser.wait()


def wait_until(look: Callable[[], Any], what: str) -> Any:
    """What ``look`` gives once it is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.03)
    raise AssertionError(f"waited in vain for {what}")


def _read(path: Path) -> str:
    text = path.read_text() if path.exists() else ""
    return text if text.count("\n") else ""
