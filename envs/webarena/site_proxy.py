"""A SOCKS5 proxy (RFC 1928) on loopback that connects to the allowed sites alone; a browser on external sites sends all its traffic to it.

Invariant: no connection is made to another host or port, whatever causes it: an action, a link, a redirect, a script or a frame.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

Address = tuple[str, int]
"""A host and a port."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HANDSHAKE_SECONDS, _CONNECT_SECONDS = 30.0, 15.0
_VERSION, _CONNECT, _SUCCEEDED, _NOT_ALLOWED, _UNREACHABLE, _NO_SUCH_COMMAND = 5, 1, 0, 2, 4, 7
_BLOCK_BYTES = 65_536


def address_of(url: str) -> Address | None:
    """The host and port of an HTTP URL, or None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.hostname.rstrip("."), port or _DEFAULT_PORTS[parts.scheme]


def host_text(address: Address) -> str:
    """`host`, or `host:port` where the port is not the usual one."""
    host, port = address
    return host if port in _DEFAULT_PORTS.values() else f"{host}:{port}"


class SiteProxy:
    """Listens when created, in a thread of its own. `port`: on 127.0.0.1."""

    def __init__(self, allowed: frozenset[Address]) -> None:
        self.allowed = allowed
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        threading.Thread(target=lambda: asyncio.run(self._serve(listener)), name="site proxy", daemon=True).start()

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._handle, sock=listener)
        await server.serve_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                address = await _read_request(reader, writer)
            if address not in self.allowed:
                writer.write(_reply(_NOT_ALLOWED))
                return
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    site_reader, site_writer = await asyncio.open_connection(*address)
            except OSError:
                writer.write(_reply(_UNREACHABLE))
                return
            writer.write(_reply(_SUCCEEDED))
            await asyncio.gather(_copy(reader, site_writer), _copy(site_reader, writer))
        except (OSError, EOFError, ValueError):  # no SOCKS5, or the client has gone; TimeoutError is an OSError
            pass
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Address:
    """The address that the client asks for. Raises ValueError if it does not speak SOCKS5."""
    version, num_methods = await reader.readexactly(2)
    await reader.readexactly(num_methods)
    if version != _VERSION:
        raise ValueError("not SOCKS5")
    writer.write(bytes([_VERSION, 0]))  # no authentication
    _, command, _, address_type = await reader.readexactly(4)
    if address_type == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode("ascii").lower().rstrip(".")
    else:
        host = str(ipaddress.ip_address(await reader.readexactly(4 if address_type == 1 else 16)))
    port = int.from_bytes(await reader.readexactly(2), "big")
    if command != _CONNECT:
        writer.write(_reply(_NO_SUCH_COMMAND))
        raise ValueError("neither BIND nor UDP is offered")
    return host.strip("[]"), port


def _reply(code: int) -> bytes:
    return bytes([_VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(_BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
    writer.close()


@lru_cache(maxsize=None)
def running_proxy(allowed: frozenset[Address]) -> SiteProxy:
    """The proxy of this process for these sites, started by the first call."""
    return SiteProxy(allowed)
