"""Orders to `hostile`, which runs in a process of its own, and the processes of image work."""

import json
from pathlib import Path

import psutil

_FORK_SERVERS = (
    "image_poster.adapters.images.fork_server",
    "support.hostile",
    "support.no_such_module",
)


def order(attack: str, argument: object = "") -> bytes:
    """An original that has a decoder do this."""
    return json.dumps({"attack": attack, "argument": str(argument)}).encode()


def fork_servers() -> list[psutil.Process]:
    """The fork servers of this process's renderers: it has other children, perhaps."""
    return [child for child in psutil.Process().children() if _is_fork_server(child)]


def _is_fork_server(process: psutil.Process) -> bool:
    try:
        return is_running(process.pid) and process.cmdline()[-1].startswith(_FORK_SERVERS)
    except (psutil.NoSuchProcess, IndexError):
        return False


def is_running(pid: int) -> bool:
    """True if there is such a process, and it is more than an entry in a table."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
