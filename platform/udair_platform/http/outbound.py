"""Requests to addresses that customers name, and to nothing behind our own walls (SSRF).

A name is resolved once; every address that it has must be public, and the connection goes to one of
those: a name that resolves differently a moment later leads nowhere else.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import httpx

MAX_REPLY_BYTES = 64 * 1024


class AddressRefused(Exception):
    """The address leads to where nothing may be sent."""


@dataclass(frozen=True)
class HttpReply:
    """What came back: its status, and nothing of its body is kept."""

    status: int
    retry_after_s: float | None


class Outbound:
    """Sends to public addresses only.

    Args:
        allow_private: Also to private and loopback ones, and without TLS: an operator's decision.
        timeout_s: For connecting, and for each read.
    """

    def __init__(self, *, allow_private: bool = False, timeout_s: float = 10.0) -> None:
        self._allow_private, self._timeout_s = allow_private, timeout_s

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> HttpReply:
        """POST `body`; redirects are not followed.

        Raises:
            Refused: The address is not public.
            httpx.TransportError: There was no answer.
        """
        parsed = httpx.URL(url)
        address = self.address_of(parsed.host, parsed.port or (443 if parsed.scheme == "https" else 80))
        # To the address that was checked; TLS and the Host header still speak of the name.
        target = parsed.copy_with(host=address)
        host = parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"
        extensions = {"sni_hostname": parsed.host} if parsed.scheme == "https" else {}
        with (
            httpx.Client(timeout=self._timeout_s, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "POST", target, content=body, headers={**headers, "Host": host}, extensions=extensions
            ) as response,
        ):
            read = 0
            for chunk in response.iter_raw():
                read += len(chunk)
                if read > MAX_REPLY_BYTES:
                    break
            after = response.headers.get("Retry-After", "")
            return HttpReply(response.status_code, float(after) if after.isdigit() and len(after) < 7 else None)

    def address_of(self, host: str, port: int) -> str:
        """A public address of `host`.

        Raises:
            Refused: It has none, or one that is not public.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise AddressRefused(f"{host} has no address: {error}.") from error
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
        for text in addresses:
            if not self._allow_private and not _public(text):
                raise AddressRefused(f"{host} is {text}, which is not a public address; nothing is sent there.")
        return addresses[0]


def _public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner.is_global and not inner.is_multicast
        if address.teredo is not None or address in ipaddress.ip_network("64:ff9b::/96"):
            return False
    return address.is_global and not address.is_multicast
