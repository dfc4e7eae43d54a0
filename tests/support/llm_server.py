"""A model server for tests: OpenAI's API over real HTTP on a local port."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from support.llm_model import Model, answer_by_schema
from support.llm_wire import Fault, Kind, Sent, ServerUsage, Wire, error


class LLMServer:
    """A context manager; `url` is the base_url of clients. See `Wire` for its responses and records."""

    def __init__(
        self, model: Model = answer_by_schema, faults: Iterable[Fault] = (), lasting: Iterable[Kind] = ()
    ) -> None:
        self.wire = Wire(model, faults, lasting)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Bodies of the requests so far."""
        return self.wire.requests

    @property
    def used(self) -> list[ServerUsage]:
        """The usage of each request that was not refused."""
        return self.wire.used

    def __enter__(self) -> LLMServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = (
                1 << 16
            )  # head and body in one packet: the client would wait for its own ACK between them

            def do_GET(self) -> None:
                models = {"object": "list", "data": [{"id": "test", "object": "model", "owned_by": "test"}]}
                found = self.path == "/v1/models"
                self._send(Sent(json.dumps(models).encode()) if found else error(404, "no such page"))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.path != "/v1/chat/completions":
                    self._send(error(404, "no such page"))
                    return
                try:
                    request = json.loads(body)
                except ValueError:
                    self._send(error(400, "the body is no JSON"))
                    return
                with owner._lock:
                    sent = owner.wire.answer(request)
                if sent.instead == "timeout":
                    owner._closing.wait(10)
                if sent.instead is not None:
                    self.close_connection = True
                    return
                time.sleep(sent.delay)
                self._send(sent)

            def _send(self, sent: Sent) -> None:
                self.send_response(sent.status)
                for name, value in sent.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(sent.body)))
                self.end_headers()
                self.wfile.write(sent.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Tests are quiet."""

        return Handler
