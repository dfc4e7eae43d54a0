"""Which addresses of the web may be opened: those that lead to public machines, judged after names are resolved."""

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
"""IP addresses of a host, for a port. Raises OSError if there are none."""

_PORTS = {"http": 80, "https": 443}
_LONGEST = 2000
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class Refused(TrexError):
    """An address that must not be opened."""


class NoNetwork(TrexError):
    """A host could not be reached: there is no network here, or only this host is down."""


def parse(url: str) -> SplitResult:
    """The parts of a web address. Raises Refused for another scheme or port, credentials, or no host."""
    if len(url) > _LONGEST or any(c.isspace() or not c.isprintable() for c in url):
        raise Refused("this is no web address: it is too long, or has spaces or control characters in it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("this is no web address: give one as https://host/path") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Refused("only addresses that begin with https:// or http:// are opened")
    if parts.username is not None or parts.password is not None:
        raise Refused("an address with a user name or password in it is not opened")
    if port not in (None, *_PORTS.values()):
        raise Refused("only the usual ports of the web (80 and 443) are opened")
    return parts


def host_of(url: str) -> str:
    """The host, in lower case, without a final dot."""
    return (urlsplit(url).hostname or "").rstrip(".")


def public_address(url: str, resolve: Resolve) -> str:
    """The IP address to connect to. Raises Refused if any of the host's addresses is not public, NoNetwork if none.

    Who connects must use this very address: asked a second time, a hostile name server may answer otherwise.
    """
    parts = parse(url)
    host = host_of(url)
    try:
        found = resolve(host, parts.port or _PORTS[parts.scheme])
    except (OSError, UnicodeError):
        raise NoNetwork(f"{host}: this name is not known") from None
    if not found:
        raise NoNetwork(f"{host}: this name is not known")
    if not all(_is_public(address) for address in found):
        raise Refused(f"{host} leads to an address that is not public: it is not opened")
    return found[0]


def look_up(host: str, port: int, patience_s: float = 4.0) -> list[str]:
    """The system's answer, IPv4 first, within `patience_s`. Raises OSError."""
    found = bounded(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), patience_s)
    addresses = [str(entry[4][0]).split("%")[0] for entry in found]
    return sorted(dict.fromkeys(addresses), key=lambda address: ":" in address)


def bounded(call: Callable[[], Result], patience_s: float) -> Result:
    """What `call` returns, in a thread that is left behind if it takes longer. Raises TimeoutError, or as `call`."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(patience_s)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer in {patience_s:g} s")
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
        if inner is not None:  # an address of the old kind in the clothes of the new
            return _is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)
