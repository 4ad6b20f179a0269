"""Ports of this machine: which are free, and who is told when one is not."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from udair_platform.errors import SettingsError

_LOWEST, _ENOUGH = 20_000, 1_000  # below, programs have ports of their own, and Ray's workers
_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """`count` different ports that nothing listens on right now.

    They are below those that the system hands out by itself: one of these may be some connection's, or another
    server's, before whoever asked for it listens there.
    """
    with ExitStack() as held:
        found: list[int] = []
        for port in _candidates():
            item = held.enter_context(socket.socket())
            with suppress(OSError):
                item.bind(("127.0.0.1", port))
                found.append(int(item.getsockname()[1]))
            if len(found) == count:
                return found
        raise SettingsError(f"{len(found)} of {count} ports are free on 127.0.0.1; stop what listens there.")


def _candidates() -> list[int]:
    try:
        first = int(_HANDED_OUT.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 0
    if first - _LOWEST < _ENOUGH:
        return [0] * _ENOUGH
    return random.sample(range(_LOWEST, first), _ENOUGH)


def claim_port(port: int, option: str) -> int:
    """`port` if nothing listens on it; 0 picks a free one.

    Raises:
        SettingsError: It is in use; the message names the option that chooses another.
    """
    if port == 0:
        return free_ports(1)[0]
    with socket.socket() as probe:
        # A port whose last connection has just closed is free enough.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} is in use on 127.0.0.1 ({error.strerror}). Stop what listens there, or pass "
                f"{option} with another port; 0 picks a free one."
            ) from error
    return port
