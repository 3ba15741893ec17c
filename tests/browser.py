"""A headless Chromium, driven over the pipe that it opens for its developers' tools.

Messages are JSON, each followed by a zero byte. The pipe has no port that could be taken, and needs no
package.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60
"""Seconds until a browser that says nothing has failed; the first start, on a busy machine, takes ten."""


def find():
    """Where the browser is, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with one page; a context manager."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        reads, self.writes = os.pipe()
        self.reads, writes = os.pipe()
        # Chromium reads from 3 and writes to 4; ours are moved out of the way first.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (reads, writes)]
        options = [
            "--headless=new",
            "--no-sandbox",  # which the root user of a container cannot have; the pages are our own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={self.profile}",
            "about:blank",
        ]
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, theirs[0], 3),
            (os.POSIX_SPAWN_DUP2, theirs[1], 4),
        ]
        path = find()
        self.pid = os.posix_spawn(path, [path, *options], os.environ, file_actions=actions, setpgroup=0)
        for fd in (reads, writes, *theirs):
            os.close(fd)
        os.set_blocking(self.reads, False)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.reads)
        os.close(self.writes)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, **parameters):
        """One command of the DevTools protocol, and its result; events that come before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            assert time.monotonic() < end, "Chromium does not answer"
            try:
                read = os.read(self.reads, 1 << 16)
                assert read, "Chromium has ended"
                self.buffer += read
            except BlockingIOError:
                time.sleep(0.005)
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width=1280, height=900, scheme="light", reduced_motion=True):
        """Load a file in a window of this size, in light or dark colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        if reduced_motion:
            features.append({"name": "prefers-reduced-motion", "value": "reduce"})
        self.call("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script):
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def key(self, name):
        """Press and release a key, by its name as in KeyboardEvent.key."""
        codes = {" ": 32, "Enter": 13, "Tab": 9, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        text = {" ": " ", "Enter": "\r"}.get(name)
        down = {"type": "keyDown" if text else "rawKeyDown", **({"text": text} if text else {})}
        for what in (down, {"type": "keyUp"}):
            code = "Space" if name == " " else name
            self.call(
                "Input.dispatchKeyEvent", key=name, code=code, windowsVirtualKeyCode=codes[name], **what
            )

    def mouse(self, x, y, click=False):
        """Move the mouse to a place in the window, and perhaps click."""
        kinds = ["mouseMoved", *(["mousePressed", "mouseReleased"] if click else [])]
        for kind in kinds:
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def problems(self):
        """What the page complained about, and what it asked the network for."""
        self.run("0")  # so that everything until now has come
        found = []
        for event in self.events:
            method, about = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(about["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
                found.append(str(about["args"]))
            elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                found.append(about["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = about["request"]["url"]
                found += [] if url.startswith(("file:", "data:")) else [f"asked for {url}"]
        return found

    def screenshot(self):
        """What is in the window, as the bytes of a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])
