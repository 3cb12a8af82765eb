"""Serve a text classifier over HTTP: the standard library, numpy, tokenizers and one runtime."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from targets import Bundle
from targets.errors import BertcError, UsageError
from targets.runtime.selftest import run_selftest
from targets.runtime.session import Session

MOST_BYTES = 1_000_000
MOST_TEXTS = 256
SECONDS = 30
"""Of silence after which a client is hung up on."""


class BadRequestError(Exception):
    """What a client did wrong."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """One session, which any number of threads may use."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], session: Session) -> None:
        super().__init__(address, Handler)
        self.session = session


class Handler(BaseHTTPRequestHandler):
    """GET /health and POST /predict, in JSON."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = SECONDS

    def do_GET(self) -> None:
        if self.path != "/health":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there are GET /health and POST /predict"})
            return
        self._answer(HTTPStatus.OK, {"status": "ok"})

    def do_POST(self) -> None:
        try:
            texts = self._texts()
            found = self.server.session.predict(texts)
        except BadRequestError as error:
            self.close_connection = True
            self._answer(error.status, {"error": str(error)})
        except UsageError as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": error.message})
        except BertcError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": error.message})
        else:
            self._answer(HTTPStatus.OK, {"predictions": [each.to_dict() for each in found]})

    def _texts(self) -> list[str]:
        """The texts of the request.

        Raises:
            BadRequestError: another path, no or too large a body, or one that is not {"texts": [...]}.
        """
        if self.path != "/predict":
            raise BadRequestError(HTTPStatus.NOT_FOUND, "there are GET /health and POST /predict")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise BadRequestError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        if int(length) > MOST_BYTES:
            raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {MOST_BYTES} bytes")
        try:
            document = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise BadRequestError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error
        texts = document.get("texts") if isinstance(document, dict) else None
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise BadRequestError(HTTPStatus.BAD_REQUEST, 'the body must be {"texts": [strings]}')
        if not 0 < len(texts) <= MOST_TEXTS:
            raise BadRequestError(HTTPStatus.BAD_REQUEST, f"send 1 to {MOST_TEXTS} texts")
        return texts

    def _answer(self, status: HTTPStatus, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: texts may be private, and paths say nothing."""


def open_session(path: str, key: str | None) -> Session:
    """A session over a bundle that is whole, signed if `key` is given, and computes here what it should.

    Raises:
        BertcError: it is not so.
    """
    bundle = Bundle.open(path, key=key)
    bundle.verify()
    bundle.check_device()
    session = bundle.session()
    if not run_selftest(bundle, session).ok:
        session.close()
        raise BertcError("the self-test failed", "run `bertc selftest` on it")
    return session


def main() -> int:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="a folder that `bertc compile` wrote")
    parser.add_argument("--key", help="refuse a bundle that this public key did not sign")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes any that is free")
    options = parser.parse_args()
    try:
        session = open_session(options.bundle, options.key)
    except BertcError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    with session, Server((options.host, options.port), session) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for serve_forever(), which runs in the thread that handles signals.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        host, port = server.server_address[:2]
        print(f"serving on http://{host}:{port}", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
