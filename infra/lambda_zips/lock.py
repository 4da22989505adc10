"""What constraints.txt locks: a release of each distribution, and the hashes of its files."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)[^\n]*\\\n(?P<hashes>(?: +--hash=\S+(?: \\)?\n)+)",
    re.MULTILINE,
)


class Pin(NamedTuple):
    """One release, and the hashes of its files as pip takes them (`sha256:…`)."""

    version: str
    hashes: frozenset[str]


def normalized(name: str) -> str:
    """A distribution's name as the lock writes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> dict[str, Pin]:
    """Every pin of a lock that `make lock` wrote, by normalized name. Raises `ValueError` if a name
    is there twice: then the platform would decide."""
    pins: dict[str, Pin] = {}
    for found in _PIN.finditer(path.read_text()):
        if found["name"] in pins:
            raise ValueError(f"{path.name} pins {found['name']} twice")
        pins[found["name"]] = Pin(
            found["version"], frozenset(re.findall(r"--hash=(\S+)", found["hashes"]))
        )
    return pins


def requirements(path: Path, names: Iterable[str]) -> str:
    """Lines for `pip install --require-hashes` that take these distributions as the lock has them,
    whatever this machine is: without markers. Raises `KeyError` for one that is not locked."""
    pins = read_lock(path)
    return "".join(_line(name, pins[name]) for name in map(normalized, names))


def _line(name: str, pin: Pin) -> str:
    return " ".join([f"{name}=={pin.version}", *(f"--hash={found}" for found in pin.hashes)]) + "\n"
