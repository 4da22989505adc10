"""Times as the contract writes them: RFC 3339, UTC, milliseconds, `Z`."""

from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC throughout; naive, since "Z" is written by hand


def rfc3339(milliseconds: int) -> str:
    """`milliseconds` since 1970 as text; such texts sort as the times do."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds") + "Z"
