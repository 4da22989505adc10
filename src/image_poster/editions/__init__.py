"""The composition roots: the only places that name concrete classes; and what their settings have
in common."""

import re

# Scheme, host, port (RFC 6454 section 6.1), and what does not belong there.
_ORIGIN = re.compile(
    r"(([a-z][a-z0-9+.-]*)://(?:[^/?#@:\s\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?)([/?#].*)?"
)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class StartError(Exception):
    """A setting or a circumstance that stops the start; the text is the one sentence shown."""


def listed(text: str) -> tuple[str, ...]:
    """The entries of a comma-separated setting."""
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def admin_claim(text: str) -> tuple[str, str] | None:
    """The claim and its value in a setting such as `groups=admins`; None for none. Raises
    `StartError`."""
    claim, _, value = (part.strip() for part in text.partition("="))
    if not text.strip():
        return None
    if not (claim and value):
        raise StartError(
            f"jwt_admin_claim must be a claim and its value, such as groups=admins, not {text!r}."
        )
    return claim, value


def checked_origins(text: str) -> tuple[str, ...]:
    """The origins in a comma-separated setting, or `*`. Raises `StartError` for one that no browser
    would ever send: it would let no page call, and nobody would be told why."""
    return tuple(_checked_origin(entry) for entry in listed(text))


def _checked_origin(entry: str) -> str:
    if entry == "*":
        return entry
    match = _ORIGIN.fullmatch(entry.lower())
    if match is None:
        raise StartError(f"cors_origins: {entry} is no origin, such as https://example.org.")
    origin, scheme, port, rest = match.groups()
    if rest:
        raise StartError(
            f"cors_origins: an origin has no path and no slash at its end: {origin}, not {entry}."
        )
    if port and _DEFAULT_PORTS.get(scheme) == port:
        raise StartError(f"cors_origins: browsers leave out {port}; leave it out of {entry} too.")
    return origin
