"""POST to a URL that a client of ours chose, without becoming its tool against our own network (server-side request forgery).

The name is resolved once, every address of the answer must be allowed, and the connection goes to one that was checked: a name
that points elsewhere a moment later (DNS rebinding) changes nothing. TLS and the Host header keep the name. No proxy from the
environment, no redirect, no cookie; one deadline for everything, so that a peer that drips byte by byte holds nobody; of the
answer its status line and headers alone are read.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore

from services.adapters.guarded_addresses import AllowedNetworks

MAX_URL_CHARACTERS = 2_000
_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_NOT_TAKEN = re.compile(r'["<>\\^`{|}]')  # RFC 3986 takes them in no URL, and parsers disagree about them

Resolve = Callable[[str, int], list[str]]


class TargetRefused(Exception):
    """The URL, or the address that it leads to, is not one that we connect to. The message may be shown to the client."""


class TargetFailed(Exception):
    """No answer came: the name is unknown, nobody listens, TLS failed, time ran out. The message may be shown to the client."""


@dataclass(frozen=True)
class Target:
    """A URL, taken apart once."""

    scheme: str
    host: str  # without brackets
    port: int
    path: str  # and query

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str, allow_http: bool, networks: AllowedNetworks) -> Target:
    """Take a URL apart; raises TargetRefused, which says what is wrong with it.

    Args:
        allow_http: also for hosts elsewhere; a host that is a loopback address of `networks` may always be asked without TLS.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise TargetRefused(f"the URL has {len(url)} characters; the limit is {MAX_URL_CHARACTERS}")
    if not _VISIBLE.fullmatch(url) or _NOT_TAKEN.search(url):
        raise TargetRefused("the URL must be printable ASCII without blanks (write a name as xn--…, the rest as %…)")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise TargetRefused(f"not a URL: {error}") from None
    if parts.scheme not in _PORTS:
        raise TargetRefused("the URL must begin with https://")
    if "@" in parts.netloc:
        raise TargetRefused("the URL must not carry a user name or a password")
    if parts.fragment or url.endswith("#"):
        raise TargetRefused("the URL must not have a fragment (#…)")
    if not _HOST.fullmatch(host) or len(host) > 253 or port == 0:
        raise TargetRefused("the URL has no host that can be looked up")
    own = host in ("localhost", "127.0.0.1", "::1") and networks.names("127.0.0.1" if host == "localhost" else host)
    if parts.scheme == "http" and not (allow_http or own):
        raise TargetRefused("the URL must begin with https://; this service sends nothing without TLS")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def resolve_name(host: str, port: int) -> list[str]:
    """All addresses of a name, the system's resolver asked; raises TargetFailed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise TargetFailed(f"the name {host!r} is not known") from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def checked_addresses(target: Target, networks: AllowedNetworks, resolve: Resolve = resolve_name) -> list[str]:
    """Resolve a target's name; raises TargetRefused if one of the answers is not allowed, TargetFailed if there is none."""
    addresses = resolve(target.host, target.port)
    if not addresses:
        raise TargetFailed(f"the name {target.host!r} has no address")
    if not all(networks.permits(address) for address in addresses):
        raise TargetRefused(f"{target.host!r} leads to an address that is not public")
    return addresses


class GuardedClient:
    """Sends requests to checked addresses; a connection for each, none is kept. For threads."""

    def __init__(
        self, networks: AllowedNetworks, allow_http: bool, ca_file: str | None = None, resolve: Resolve = resolve_name
    ) -> None:
        """Get ready.

        Args:
            ca_file: certificates to trust instead of the usual authorities', in PEM.
        """
        self._networks = networks
        self._allow_http = allow_http
        self._resolve = resolve
        self._tls = ssl.create_default_context(cafile=ca_file or certifi.where())

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> int:
        """Send a body and give the status of the answer, whatever follows it.

        Args:
            timeout_s: for everything together; only the system's resolver keeps its own time.

        Raises:
            TargetRefused: the URL or its address is not allowed; nothing was sent.
            TargetFailed: no answer came in time.
        """
        until = time.monotonic() + timeout_s
        target = parse_target(url, self._allow_http, self._networks)
        addresses = checked_addresses(target, self._networks, self._resolve)
        origin = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        fields = {"Host": target.authority, "Connection": "close", "Content-Length": str(len(body)), **headers}
        pool = httpcore.ConnectionPool(ssl_context=self._tls, network_backend=_Pinned(addresses, until), retries=0)
        try:
            with pool, pool.stream("POST", origin, headers=list(fields.items()), content=body) as answer:
                return answer.status
        except (httpcore.TimeoutException, TimeoutError):
            raise TargetFailed(f"no answer within {timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            raise TargetFailed(f"{type(error).__name__}: {error}"[:300]) from None


class _Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were checked, whatever name is asked for."""

    def __init__(self, addresses: list[str], until: float) -> None:
        self._addresses = addresses
        self._until = until
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectTimeout()
        for at, address in enumerate(self._addresses):
            share = _left(self._until) / (len(self._addresses) - at)  # one that is silent leaves time for the next
            try:
                stream = self._sockets.connect_tcp(address, port, share, local_address, socket_options)
                return _Bounded(stream, self._until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Bounded(httpcore.NetworkStream):
    """A connection with one deadline for everything that is done with it."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return left
