"""Opaque, signed cursors: a position in one list, usable with that list only."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from image_poster.domain.errors import InvalidCursorError

_MAC_BYTES = 16
_MAX_CHARACTERS = 512

Position = TypeVar("Position")


class CursorSigner:
    """Writes and reads cursors with HMAC-SHA-256 (RFC 2104), cut to 128 bits.

    The list's name (its sort and filters included) goes into the signature, so a cursor used with
    another list is as wrong as a forged one.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, list_name: str, position: object) -> str:
        """The cursor for `position` (anything msgspec can encode) in the list `list_name`."""
        payload = msgspec.json.encode(position)
        return urlsafe_b64encode(self._mac(list_name, payload) + payload).rstrip(b"=").decode()

    def read(self, list_name: str, cursor: str, kind: type[Position]) -> Position:
        """The position behind `cursor`; raises `InvalidCursorError` unless `write` made it for this
        list."""
        if len(cursor) > _MAX_CHARACTERS or not cursor.isascii():
            raise InvalidCursorError
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError) as exc:
            raise InvalidCursorError from exc
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(list_name, payload)):
            raise InvalidCursorError
        return msgspec.json.decode(payload, type=kind)

    def _mac(self, list_name: str, payload: bytes) -> bytes:
        message = list_name.encode() + b"\0" + payload
        return hmac.digest(self._secret, message, "sha256")[:_MAC_BYTES]
