"""Forbid a probe's processes to reach other machines, with an error that says so.

An audit hook sees every connection and every name lookup of Python code. It stops upstreams from
downloading what a probe did not provide; it is no protection against hostile code.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from contextlib import suppress
from typing import Any


class NoNetwork(ConnectionRefusedError):
    """Code tried to reach another machine."""


def forbid() -> None:
    """Refuse connections to other machines, and lookups of their names, from now on."""
    here = {"localhost", "localhost.localdomain", "ip6-localhost", ""}
    here |= {socket.gethostname(), socket.gethostname().partition(".")[0]}

    def refuse(host: Any) -> None:
        raise NoNetwork(f"a probe has no network; it asked for {host!r}: provide the data instead")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and address and not _is_local(address[0], here):
                refuse(address[0])
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            host = arguments[0]
            if host is not None and not _is_local(host, here):
                refuse(host)

    sys.addaudithook(watch)


def _is_local(host: Any, names: set[str]) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text in names or text.endswith(".local")
    return address.is_loopback or address.is_unspecified or text in _own_addresses(names)


def _own_addresses(names: set[str]) -> set[str]:
    """Return the addresses of this machine's own names (a rendezvous may use those)."""
    found: set[str] = set()
    for name in names - {""}:
        with suppress(OSError):
            found |= {str(row[4][0]) for row in socket.getaddrinfo(name, None)}
    return found
