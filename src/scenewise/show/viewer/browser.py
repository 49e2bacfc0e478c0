"""A browser without a window, for pictures of the viewer and for testing it as a person would use it.

It is driven through the Chrome DevTools protocol, with the websocket library that viser brings along.
"""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
from PIL import Image

from scenewise.errors import MissingDependencyError, ResourceError
from scenewise.scenes.frames import ImageU8

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS = (
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    # WebGL on the processor, where there is no graphics card to be had.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu",
    "--remote-debugging-port=0",
)
_LOADING_SECONDS = 15.0
_CLICK_SECONDS = (
    0.1  # between moving, pressing and letting go, as people do: scenes look for what is under the mouse once a picture
)
_DISMISS_NOTES = "document.querySelectorAll('.mantine-Notification-closeButton').forEach(button => button.click())"


def find_browser() -> Path | None:
    """The first of Chromium, Chrome and Edge that is installed, or None."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    found = found or next((place for place in _PLACES if Path(place).is_file()), None)
    return None if found is None else Path(found)


@final
class HeadlessBrowser:
    """One page without a window.

    Args:
        url: to open.
        width, height: of the page in pixels.
        seconds: how long the browser may take to start.

    Raises:
        MissingDependencyError: no Chromium or Chrome is installed.
        ResourceError: it does not start.
    """

    def __init__(self, url: str, width: int = 1280, height: int = 800, *, seconds: float = 30.0) -> None:
        from websockets.sync.client import connect

        program = find_browser()
        if program is None:
            raise MissingDependencyError("chromium (a system package)", needed_for="a picture of the viewer")
        self._profile = tempfile.TemporaryDirectory(prefix="scenewise-browser-", ignore_cleanup_errors=True)
        flags = [*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={self._profile.name}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses its sandbox to root
        self._process = subprocess.Popen(
            [str(program), *flags, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._numbers = 0
        self._socket: Any = None
        try:
            self._socket = connect(self._debugger_url(seconds), max_size=None, open_timeout=seconds, compression=None)
            page = next(entry for entry in self._call("Target.getTargets")["targetInfos"] if entry["type"] == "page")
            self._session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
            self._page("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
            self._page("Page.navigate", url=url)
        except BaseException:
            self.close()
            raise

    def picture(self) -> ImageU8:
        """The page as it looks now."""
        data = self._page("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def settled_picture(self, seconds: float = 120.0) -> ImageU8:
        """The page once two pictures in a row are alike, or after ``seconds``; notes of viser are dismissed first."""
        until = time.monotonic() + seconds
        self.evaluate(_DISMISS_NOTES)
        before = self.picture()
        while time.monotonic() < until:
            time.sleep(0.25)
            self.evaluate(_DISMISS_NOTES)
            now = self.picture()
            if np.array_equal(before, now):
                break
            before = now
        return before

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._page("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def click(self, x: float, y: float) -> None:
        """Moves the mouse there, presses and releases its left button."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._page("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)
            time.sleep(_CLICK_SECONDS)

    def type_text(self, text: str) -> None:
        """Types into what has the focus."""
        self._page("Input.insertText", text=text)

    def press_enter(self) -> None:
        """The Enter key."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self._page("Input.dispatchKeyEvent", type="keyDown", **key)
        self._page("Input.dispatchKeyEvent", type="keyUp", **key)

    def close(self) -> None:
        """Ends the browser and deletes its profile."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process.poll() is None:
            # Our own session holds the browser and its helpers, nobody else.
            try:
                os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(timeout=5.0)
            except (ProcessLookupError, PermissionError):
                self._process.terminate()
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._profile.cleanup()

    def __enter__(self) -> "HeadlessBrowser":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _debugger_url(self, seconds: float) -> str:
        told = Path(self._profile.name) / "DevToolsActivePort"
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process.poll() is None:
            try:
                port, path = told.read_text().split()
                return f"ws://127.0.0.1:{int(port)}{path}"
            except (OSError, ValueError):  # not written yet, or only half
                time.sleep(0.05)
        raise ResourceError("the browser", expected=f"a start within {seconds:.0f} s", got=f"exit code {self._process.poll()}")

    def _page(self, method: str, **parameters: Any) -> dict[str, Any]:
        until = time.monotonic() + _LOADING_SECONDS
        while True:
            try:
                return self._call(method, self._session, **parameters)
            except ResourceError:  # between two pages there is none to ask
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _call(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        self._numbers += 1
        message = {"id": self._numbers, "method": method, "params": parameters}
        self._socket.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60.0))
            if answer.get("id") == self._numbers:
                if "error" in answer:
                    raise ResourceError("the browser", got=f"{method}: {answer['error'].get('message')}")
                return dict(answer["result"])
