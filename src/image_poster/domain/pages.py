"""Pages of lists, and the opaque, signed cursors that lead from one to the next."""

from typing import Generic, NamedTuple, TypeVar

from image_poster.domain.errors import InvalidCursorError
from image_poster.domain.signing import BadSignatureError, Signer

Item = TypeVar("Item")
Next = TypeVar("Next")
Position = TypeVar("Position")


class Page(NamedTuple, Generic[Item, Next]):
    """Items in order, and where the next page begins (None: this was the last)."""

    items: list[Item]
    next: Next | None


class CursorSigner:
    """Writes and reads cursors: a position in one list, usable with that list only. The list's name
    holds its sort and filters."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def write(self, list_name: str, position: object) -> str:
        """The cursor for `position` (anything msgspec can encode) in the list `list_name`."""
        return self._signer.write(list_name, position)

    def read(self, list_name: str, cursor: str | None, kind: type[Position]) -> Position | None:
        """The position behind `cursor`, None without one; raises `InvalidCursorError` unless it is
        of this list."""
        if cursor is None:
            return None
        try:
            return self._signer.read(list_name, cursor, kind)
        except BadSignatureError as exc:
            raise InvalidCursorError from exc

    def signed(self, list_name: str, page: Page[Item, Position]) -> Page[Item, str]:
        """The page with its next position as a cursor."""
        return Page(page.items, self.write(list_name, page.next) if page.next is not None else None)
