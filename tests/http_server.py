"""A real web server on this machine, for tests: it answers as well, or as badly, as it is told to."""

import contextlib
import http.server
import threading
from collections.abc import Callable
from email.message import Message

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """Answers each path as it is told to, and keeps lists of what it was asked and with which headers."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers: list[Message] = []
        self.stop = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.headers.append(self.headers)
                # The client may hang up as soon as it has seen enough.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    server.answers.get(self.path, status(404))(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()

    def url(self, path: str, answer: Answer | None = None) -> str:
        if answer is not None:
            self.answers[path] = answer
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def close(self) -> None:
        self.stop.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def body(content: bytes, length: int | None = -1) -> Answer:
    """Send `content`, announced as `length` bytes (its own length; None: not announced)."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if length is not None:
            request.send_header("Content-Length", str(len(content) if length == -1 else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def status(code: int, words: str | None = None) -> Answer:
    return lambda request: request.send_error(code, words)


def redirect(location: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer
