"""Ports for what cannot be told to take a free one itself."""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _USUAL_END = 10_000, 32_768


def free_port() -> int:
    """A port of this machine that nobody listens on just now, and that no outgoing connection will
    be given meanwhile: such a one takes any port of the range that `bind` to 0 chooses from."""
    end = _end()
    while True:
        port = random.randrange(_FIRST, end)  # noqa: S311 - others choose at the same time
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _end() -> int:
    """Where the ports of outgoing connections begin, by the kernel if it says so (ip(7))."""
    try:
        begin = int(_RANGE.read_text().split()[0])
    except OSError:
        return _USUAL_END
    return begin if begin > _FIRST + 1000 else _USUAL_END
