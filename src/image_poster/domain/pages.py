"""Opaque, signed cursors: a position in one list, usable with that list only."""

from typing import TypeVar

from image_poster.domain.errors import InvalidCursorError
from image_poster.domain.signing import BadSignatureError, Signer

Position = TypeVar("Position")


class CursorSigner:
    """Writes and reads cursors. The list's name holds its sort and filters."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def write(self, list_name: str, position: object) -> str:
        """The cursor for `position` (anything msgspec can encode) in the list `list_name`."""
        return self._signer.write(list_name, position)

    def read(self, list_name: str, cursor: str, kind: type[Position]) -> Position:
        """The position behind `cursor`; raises `InvalidCursorError` unless it is of this list."""
        try:
            return self._signer.read(list_name, cursor, kind)
        except BadSignatureError as exc:
            raise InvalidCursorError from exc
