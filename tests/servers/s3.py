"""An S3-compatible server (moto's) in a thread of this process, on a free port of 127.0.0.1, whose failures a test can order.

Needs the extras s3 and dev.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from typing import Any

LACKING = [name for name in ("moto", "s3fs", "dvc_s3") if find_spec(name) is None]
KEY_ID, SECRET_KEY = "AKIDEXAMPLE0123456789", "wJalrXUtnFEMIexampleSecretKey0123456789"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class S3Server:
    """`url`: its address. `requests`: the method, path and query of every request. `fails`: says which of them are answered with 503."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                pass

        self.requests: list[str] = []
        self.fails: Callable[[str], bool] = lambda request: False
        self._numbers = count()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self._moto: Wsgi = DomainDispatcherApplication(create_backend_app)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def variables(self) -> dict[str, str]:
        """The environment variables with which clients find the server."""
        credentials = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        return {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1", **credentials}

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        import botocore.session

        session, name = botocore.session.get_session(), f"team{next(self._numbers)}"
        session.set_credentials(KEY_ID, SECRET_KEY)
        session.create_client("s3", region_name="us-east-1", endpoint_url=self.url).create_bucket(Bucket=name)
        return name

    def stop(self) -> None:
        self._server.shutdown()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{query}"
        self.requests.append(request)
        if self.fails(request):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Service Unavailable", [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]
        return self._moto(environ, start_response)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()
