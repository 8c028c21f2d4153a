"""Asks over HTTP/1.1 and keeps the connections."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Mapping
from types import TracebackType

from fairway.http_client.address import Address, Origin, parse_address
from fairway.http_client.connection import Connection, HttpResponse
from fairway.http_client.errors import HttpAddressError, HttpConnectError, HttpTimeoutError
from fairway.http_client.proxy import Proxy, proxy_of

_IDLE_SECONDS = 4.0
"""Below what common servers keep (uvicorn and Node: 5 s), so that a request never meets a connection being closed."""
_MOST_IDLE = 512
_BAD_HEADER = re.compile(r"[\r\n\0]")
_LOOKED_UP_SECONDS = 60.0


class HttpClient:
    """Requests with a whole body, answers read whole; an async context manager that closes its connections.

    Redirects are not followed, nothing is tried again, and each request has one limit of time from start to last byte.
    A connection that was idle for long is not used: the request could meet the server closing it, and then nobody would
    know whether it was acted on.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 60.0,
        connect_seconds: float = 10.0,
        max_body_bytes: int = 16 * 1024 * 1024,
        headers: Mapping[str, str] | None = None,
        proxies: bool = False,
        tls: ssl.SSLContext | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Prepare a client; nothing is connected yet.

        Args:
            timeout_seconds: Of a request that does not say its own.
            connect_seconds: Of making a connection, TLS included.
            max_body_bytes: Of an answer, also once it is unpacked.
            headers: Of every request.
            proxies: Go through the proxies the environment names (``HTTPS_PROXY``, ``NO_PROXY`` …).
            tls: ``None``: the system's authorities.
            environment: Where proxies are looked up.
        """
        self._timeout = timeout_seconds
        self._connect_seconds = connect_seconds
        self._max_body = max_body_bytes
        self._proxies = proxies
        self._environment = environment
        self._tls = tls
        self._common = _written({"accept-encoding": "gzip, deflate", "user-agent": "fairway", **(headers or {})})
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._looked_up: dict[tuple[str, int], tuple[float, asyncio.Future[list[str]]]] = {}

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail."""
        for connection in [one for idle in self._idle.values() for one in idle] + list(self._busy):
            connection.close()
        self._idle.clear()
        self._busy.clear()
        await asyncio.sleep(0)

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> HttpResponse:
        """Post JSON, or what ``headers`` say it is.

        Raises:
            HttpAddressError: ``url`` or a header cannot be sent.
            HttpTroubleError: Nobody there, cut, or not in time.
            HttpAnswerError: The answer is not HTTP or too large.
        """
        return await self.request("POST", url, body, headers=headers, timeout_seconds=timeout_seconds)

    async def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float | None = None
    ) -> HttpResponse:
        """Get; raises as :meth:`post` does."""
        return await self.request("GET", url, None, headers=headers, timeout_seconds=timeout_seconds)

    async def request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> HttpResponse:
        """Ask once; raises as :meth:`post` does."""
        address = parse_address(url)
        proxy = proxy_of(address.origin, self._environment) if self._proxies else None
        data = self._request(method, address, body, headers, proxy)
        limit = self._timeout if timeout_seconds is None else timeout_seconds
        try:
            async with asyncio.timeout(limit) as scope:
                return await self._exchange(address.origin, proxy, data)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise HttpTimeoutError(f"no answer from {address.origin.authority} within {limit:g} s") from error

    def _request(
        self, method: str, address: Address, body: bytes | None, headers: Mapping[str, str] | None, proxy: Proxy | None
    ) -> bytes:
        origin = address.origin
        target, more = address.target, ""
        if proxy is not None and not origin.secure:
            target = f"http://{origin.authority}{target}"
            more = _written(proxy.headers)
        own = _written(headers) if headers else ""
        if body is not None:
            if "content-type:" not in own.lower():
                own += "content-type: application/json\r\n"
            own += f"content-length: {len(body)}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nhost: {origin.authority}\r\n{self._common}{more}{own}\r\n"
        return head.encode("latin-1", "replace") + (body or b"")

    async def _exchange(self, origin: Origin, proxy: Proxy | None, data: bytes) -> HttpResponse:
        connection = self._free(origin) or await self._connect(origin, proxy)
        self._busy.add(connection)
        try:
            response = await connection.send(data, max_body_bytes=self._max_body)
        except BaseException:
            connection.close()
            raise
        finally:
            self._busy.discard(connection)
        self._give_back(origin, connection)
        return response

    def _free(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            kept = _IDLE_SECONDS if connection.keep_seconds is None else min(_IDLE_SECONDS, connection.keep_seconds - 1)
            if connection.usable and now - connection.idle_since <= kept:
                return connection
            connection.close()
        return None

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        idle = self._idle.setdefault(origin, [])
        if not connection.usable or len(idle) >= _MOST_IDLE:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle.append(connection)

    async def _connect(self, origin: Origin, proxy: Proxy | None) -> Connection:
        try:
            async with asyncio.timeout(self._connect_seconds):
                if proxy is None:
                    return await self._direct(origin)
                return await self._proxied(origin, proxy)
        except TimeoutError as error:
            raise HttpConnectError(f"no connection to {origin.authority} within {self._connect_seconds:g} s") from error
        except ssl.SSLError as error:
            raise HttpConnectError(f"no TLS with {origin.authority}: {error.reason or error}") from error
        except (OSError, UnicodeError) as error:
            told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise HttpConnectError(f"no connection to {origin.authority}: {told}") from error

    async def _direct(self, origin: Origin) -> Connection:
        """To the first address of the host that takes it."""
        loop = asyncio.get_running_loop()
        tls = await self._context() if origin.secure else None
        problem: OSError | None = None
        for host in await self._addresses(origin.host, origin.port):
            try:
                _, connection = await loop.create_connection(
                    Connection, host, origin.port, ssl=tls, server_hostname=origin.host if tls else None
                )
                return connection
            except ssl.SSLError:
                raise
            except OSError as error:
                problem = error
        raise problem or OSError(f"{origin.host} has no address")

    async def _proxied(self, origin: Origin, proxy: Proxy) -> Connection:
        """Through a proxy: as it is for http, in a tunnel for https."""
        connection = await self._direct(proxy.origin)
        if not origin.secure:
            return connection
        authority = f"[{origin.host}]" if ":" in origin.host else origin.host
        place = f"{authority}:{origin.port}"
        head = f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{_written(proxy.headers)}\r\n"
        try:
            answer = await connection.open_tunnel(head.encode("latin-1", "replace"))
            if answer.status != 200 or connection.transport is None:
                raise OSError(f"the proxy {proxy.origin.authority} answered {answer.status}")
            transport = await asyncio.get_running_loop().start_tls(
                connection.transport, connection, await self._context(), server_hostname=origin.host
            )
            if transport is None:
                raise OSError("the tunnel was closed")
            connection.tunnelled(transport)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # some 20 ms of reading certificates: once for all calls, and not on the loop
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Addresses of a host, looked up once for all who ask at the same time."""
        if ":" in host or host.replace(".", "").isdecimal():
            return [host]
        now = asyncio.get_running_loop().time()
        known = self._looked_up.get((host, port))
        if known is None or now - known[0] > _LOOKED_UP_SECONDS or _failed(known[1]):
            known = now, asyncio.ensure_future(_look_up(host, port))
            self._looked_up[host, port] = known
        return await asyncio.shield(known[1])


def _failed(found: asyncio.Future[list[str]]) -> bool:
    return found.done() and (found.cancelled() or found.exception() is not None)


async def _look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _written(headers: Mapping[str, str]) -> str:
    """Header lines.

    Raises:
        HttpAddressError: A name or value would end its line.
    """
    text = ""
    for name, value in headers.items():
        if _BAD_HEADER.search(value) or _BAD_HEADER.search(name) or ":" in name or " " in name:
            raise HttpAddressError(f"the header {name[:40]!r} cannot be sent")
        text += f"{name}: {value}\r\n"
    return text
