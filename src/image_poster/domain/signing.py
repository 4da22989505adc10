"""Signed opaque texts, and the cursors that lead from page to page."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Generic, NamedTuple, TypeVar

import msgspec

from image_poster.domain.errors import InvalidCursorError

_MAC_BYTES = 16
# A cursor of the feed may hold the ids of a page of 100 posts.
_MAX_CHARACTERS = 4096

Payload = TypeVar("Payload")


class BadSignatureError(Exception):
    """The text was not signed by this service, or was signed for another purpose."""


class Signer:
    """Writes and reads signed text with HMAC-SHA-256 (RFC 2104), cut to 128 bits. The signature
    includes the purpose, so a text for another purpose is refused like a forged one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, purpose: str, payload: object) -> str:
        """The text that carries `payload` (anything msgspec can encode), fit for a URL."""
        raw = msgspec.json.encode(payload)
        return urlsafe_b64encode(self._mac(purpose, raw) + raw).rstrip(b"=").decode()

    def read(self, purpose: str, text: str, kind: type[Payload]) -> Payload:
        """The payload; raises `BadSignatureError` unless `write` made the text for this purpose."""
        if len(text) > _MAX_CHARACTERS or not text.isascii():
            raise BadSignatureError
        try:
            signed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError) as exc:
            raise BadSignatureError from exc
        mac, raw = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(purpose, raw)):
            raise BadSignatureError
        return msgspec.json.decode(raw, type=kind)

    def _mac(self, purpose: str, raw: bytes) -> bytes:
        message = purpose.encode() + b"\0" + raw
        return hmac.digest(self._secret, message, "sha256")[:_MAC_BYTES]


Item = TypeVar("Item")
Next = TypeVar("Next")
Position = TypeVar("Position")


class Page(NamedTuple, Generic[Item, Next]):
    """Items in order, and the position of the next page (None: this is the last)."""

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
        """The position in `cursor`, None without one; raises `InvalidCursorError` unless it is of
        this list."""
        if cursor is None:
            return None
        try:
            return self._signer.read(list_name, cursor, kind)
        except BadSignatureError as exc:
            raise InvalidCursorError from exc

    def signed(self, list_name: str, page: Page[Item, Position]) -> Page[Item, str]:
        """The page with its next position as a cursor."""
        return Page(page.items, self.write(list_name, page.next) if page.next is not None else None)
