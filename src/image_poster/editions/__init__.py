"""The composition roots: the only packages that name concrete classes. This module has the helpers
that their settings share."""

import re
from contextlib import suppress
from ipaddress import IPv6Address

# Scheme, host, port (RFC 6454 section 6.1), and a rest that is refused. Browsers send hosts in
# ASCII and ports without leading zeros (WHATWG URL Standard, section 3.5).
_ORIGIN = re.compile(
    r"(([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9]\d{0,4})?)([/?#].*)?"
)
MAX_PORT = 65_535
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class StartError(Exception):
    """A setting or a condition that prevents the start. Its text is the one sentence that the user
    sees."""


class OperationFailedError(StartError):
    """A command with correct usage that was refused or failed: its exit code is 1, not 2."""


def parse_list(text: str) -> tuple[str, ...]:
    """The entries of a comma-separated setting."""
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def parse_admin_claim(text: str) -> tuple[str, str] | None:
    """Parse an admin claim and its value, such as `groups=admins`; None for an empty setting.
    Raises `StartError`."""
    claim, _, value = (part.strip() for part in text.partition("="))
    if not text.strip():
        return None
    if not (claim and value):
        raise StartError(
            f"jwt_admin_claim must be a claim and its value, such as groups=admins, not {text!r}."
        )
    return claim, value


def parse_origins(text: str) -> tuple[str, ...]:
    """The origins in a comma-separated setting, or `*`. Raises `StartError` for one that no browser
    sends, because it would silently match no page."""
    return tuple(_parse_origin(entry) for entry in parse_list(text))


def _parse_origin(entry: str) -> str:
    if entry == "*":
        return entry
    match = _ORIGIN.fullmatch(entry.lower())
    if "*" in entry:
        raise StartError(
            f"cors_origins: {entry} matches no page, because * within an origin is no pattern. "
            "List each origin, or * alone for any."
        )
    if not entry.isascii():
        raise StartError(
            f"cors_origins: {entry} matches no page. Write its host as browsers send it, in ASCII "
            "(xn--...)."
        )
    if match is None or not _is_host(match[3]) or int((match[4] or ":0")[1:]) > MAX_PORT:
        raise StartError(f"cors_origins: {entry} is no origin, such as https://example.org.")
    origin, scheme, _, port, rest = match.groups()
    if rest:
        raise StartError(
            f"cors_origins: an origin has no path and no slash at its end: {origin}, not {entry}."
        )
    if port and _DEFAULT_PORTS.get(scheme) == port:
        raise StartError(f"cors_origins: browsers leave out {port}; leave it out of {entry} too.")
    return origin


def _is_host(host: str) -> bool:
    """True if browsers write a host like this; an IPv6 address only in its shortest form."""
    if not host.startswith("["):
        return True
    with suppress(ValueError):
        return IPv6Address(host[1:-1]).compressed == host[1:-1]
    return False
