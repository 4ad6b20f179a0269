"""Requests to addresses that customers name, and to nothing behind our own walls (SSRF).

A name is resolved once; every address that it has must be public, and the connection goes to one of
those: a name that resolves differently a moment later leads nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

import httpx

# Fixed, and not what this Python's ipaddress takes for global: that differs by release. Of IPv6 only what has
# been given to the internet's users: NAT64, SIIT, mapped, local and multicast addresses are all outside.
_ALLOTTED = ipaddress.ip_network("2000::/3")
_SPECIAL = {
    4: [
        ipaddress.ip_network(network)
        for network in (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's machine agent
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        )
    ],
    6: [
        ipaddress.ip_network(network)
        for network in (
            "2001::/23",  # Teredo and others for protocols
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        )
    ],
}


class AddressRefused(Exception):
    """The address leads to where nothing may be sent."""


@dataclass(frozen=True)
class HttpReply:
    """What came back: its status. Its body is not read."""

    status: int
    retry_after_s: float | None


class Outbound:
    """Sends to public addresses only.

    Args:
        allow_private: Also to private and loopback ones, and without TLS: an operator's decision.
        timeout_s: For all of it, from the connection to the last header, however slowly that comes.
    """

    def __init__(self, *, allow_private: bool = False, timeout_s: float = 10.0) -> None:
        self._allow_private, self._timeout_s = allow_private, timeout_s

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> HttpReply:
        """POST `body`; redirects are not followed.

        Raises:
            AddressRefused: The address is not public.
            TimeoutError: There was no whole answer in time.
            httpx.TransportError: There was no answer.
        """
        parsed = httpx.URL(url)
        address = self.address_of(parsed.host, parsed.port or (443 if parsed.scheme == "https" else 80))
        return asyncio.run(self._post(parsed, address, body, headers))

    async def _post(self, url: httpx.URL, address: str, body: bytes, headers: dict[str, str]) -> HttpReply:
        # To the address that was checked; TLS and the Host header still speak of the name.
        host = url.host if url.port is None else f"{url.host}:{url.port}"
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        # httpx bounds each read; one byte at a time is days. An event loop can end the whole of it.
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(timeout=self._timeout_s, trust_env=False, follow_redirects=False) as client,
                client.stream(
                    "POST",
                    url.copy_with(host=address),
                    content=body,
                    headers={**headers, "Host": host},
                    extensions=extensions,
                ) as response,
            ):
                after = response.headers.get("Retry-After", "")
                return HttpReply(response.status_code, float(after) if after.isdigit() and len(after) < 7 else None)
        except TimeoutError:
            raise TimeoutError(f"no whole answer within {self._timeout_s:g} s") from None

    def address_of(self, host: str, port: int) -> str:
        """A public address of `host`.

        Raises:
            AddressRefused: It has none, or one that is not public. Which of them, and where it leads, is not
                told: whoever named the host would learn the names of our own network.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
        if not addresses or not (self._allow_private or all(map(_public, addresses))):
            raise AddressRefused(
                f"{host[:253]} does not lead to a public address and to nothing else; nothing is sent there. "
                "Expected a name that is known on the internet."
            )
        return addresses[0]


def _public(ip: str) -> bool:
    address = ipaddress.ip_address(ip.partition("%")[0])
    allotted = address.version == 4 or address in _ALLOTTED
    return allotted and not any(address in network for network in _SPECIAL[address.version])
