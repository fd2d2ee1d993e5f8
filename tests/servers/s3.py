"""An S3-compatible server (moto's) on a free port. Needs `pip install 'moto[server]'` beside the extra s3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from tests.servers.ports import free_port, wait_for

LACKING = [name for name in ("moto", "s3fs", "dvc_s3") if find_spec(name) is None]


@contextmanager
def s3_server(bucket: str) -> Iterator[dict[str, str]]:
    """Yields the environment variables for clients; the bucket exists."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        import botocore.session

        session = botocore.session.get_session()
        session.set_credentials("test", "test")
        session.create_client("s3", region_name="us-east-1", endpoint_url=variables["AWS_ENDPOINT_URL"]).create_bucket(Bucket=bucket)
        yield variables
    finally:
        server.terminate()
        server.wait(timeout=30)
