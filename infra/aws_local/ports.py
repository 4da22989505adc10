"""Ports for programs that cannot choose a free port themselves."""

import secrets
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _USUAL_END = 10_000, 32_768


def free_port() -> int:
    """Return a free port of this machine, outside the range of outgoing connections. `bind` to 0
    chooses from that range, so an outgoing connection could take such a port first."""
    end = _end()
    while True:
        # Others choose at the same time, and Hypothesis seeds `random` in all processes alike.
        port = _FIRST + secrets.randbelow(end - _FIRST)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _end() -> int:
    """Return the first port of outgoing connections, by the kernel if it reports one (ip(7))."""
    try:
        begin = int(_RANGE.read_text().split()[0])
    except OSError:
        return _USUAL_END
    return begin if begin > _FIRST + 1000 else _USUAL_END
