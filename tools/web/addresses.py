"""Which web addresses may be opened: those of public hosts, checked after the name is resolved."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from ...errors import TrexError

Result = TypeVar("Result")
Resolve = Callable[[str, int], list[str]]
"""IP addresses of a host for a port. Raises OSError if there are none."""

_PORTS = {"http": 80, "https": 443}
_MAX_LENGTH = 2000
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class Refused(TrexError):
    """An address that must not be opened."""


class NoNetwork(TrexError):
    """A host could not be reached: there is no network, or the host is down."""


def parse_address(url: str) -> SplitResult:
    """The parts of a web address. Raises Refused for another scheme or port, credentials, or no host."""
    if len(url) > _MAX_LENGTH or any(c.isspace() or not c.isprintable() for c in url):
        raise Refused("not a web address: it is too long or contains spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("not a web address: write https://host/path") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Refused("only https:// and http:// addresses are opened")
    if parts.username is not None or parts.password is not None:
        raise Refused("an address with a user name or password is not opened")
    if port not in (None, *_PORTS.values()):
        raise Refused("only ports 80 and 443 are opened")
    return parts


def host_of(url: str) -> str:
    """The host, in lower case, without a final dot."""
    return (urlsplit(url).hostname or "").rstrip(".")


def public_address(url: str, resolve: Resolve) -> str:
    """The IP address to connect to. Raises Refused if any of the host's addresses is not public, NoNetwork if none.

    The connection must use this IP address: a hostile name server may give another one the next time.
    """
    parts = parse_address(url)
    host = host_of(url)
    try:
        found = resolve(host, parts.port or _PORTS[parts.scheme])
    except (OSError, UnicodeError):
        raise NoNetwork(f"{host}: unknown host name") from None
    if not found:
        raise NoNetwork(f"{host}: unknown host name")
    if not all(_is_public(address) for address in found):
        raise Refused(f"{host} has an address that is not public: it is not opened")
    return found[0]


def resolve_host(host: str, port: int, timeout_s: float = 4.0) -> list[str]:
    """The system's IP addresses of a host, IPv4 first, within `timeout_s` seconds. Raises OSError."""
    found = call_with_timeout(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), timeout_s)
    addresses = [str(entry[4][0]).split("%")[0] for entry in found]
    return sorted(dict.fromkeys(addresses), key=lambda address: ":" in address)


def call_with_timeout(call: Callable[[], Result], timeout_s: float) -> Result:
    """The result of `call`, which runs in a thread; a late thread is abandoned. Raises TimeoutError, or as `call`."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer in {timeout_s:g} s")
    return done[0]


def _is_public(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if any(ip in network for network in _NAT64):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:  # an IPv4 address embedded in an IPv6 address
            return _is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)
