"""Ports of this machine: which are free, and who is told when one is not."""

from __future__ import annotations

import socket

from udair_platform.errors import SettingsError


def free_ports(count: int) -> list[int]:
    """`count` different ports that nothing listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()


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
