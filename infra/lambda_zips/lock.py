"""The pins of constraints.txt: a release of each distribution, and the hashes of its files."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)[^\n]*\\\n(?P<hashes>(?: +--hash=\S+(?: \\)?\n)+)",
    re.MULTILINE,
)


class Pin(NamedTuple):
    """One release, and the hashes of its files in pip's form (`sha256:…`)."""

    version: str
    hashes: frozenset[str]


def normalized(name: str) -> str:
    """Return a distribution's name in the form of the lock file (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> dict[str, Pin]:
    """Return every pin of a lock file of `make lock`, by normalized name. Raises `ValueError` for a
    name with two pins: the platform would choose between them."""
    pins: dict[str, Pin] = {}
    for pin in _PIN.finditer(path.read_text()):
        if pin["name"] in pins:
            raise ValueError(f"{path.name} pins {pin['name']} twice")
        pins[pin["name"]] = Pin(
            pin["version"], frozenset(re.findall(r"--hash=(\S+)", pin["hashes"]))
        )
    return pins


def requirements(path: Path, names: Iterable[str]) -> str:
    """Return lines for `pip install --require-hashes` with the locked releases of these
    distributions. They have no markers, so they apply to any machine. Raises `KeyError` for one
    that is not locked."""
    pins = read_lock(path)
    return "".join(_line(name, pins[name]) for name in map(normalized, names))


def _line(name: str, pin: Pin) -> str:
    return " ".join([f"{name}=={pin.version}", *(f"--hash={value}" for value in pin.hashes)]) + "\n"
