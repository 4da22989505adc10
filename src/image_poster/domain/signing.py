"""Opaque text that only this service can have written."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

_MAC_BYTES = 16
_MAX_CHARACTERS = 512

Payload = TypeVar("Payload")


class BadSignatureError(Exception):
    """The text was not written by us, or for another purpose."""


class Signer:
    """Writes and reads signed text with HMAC-SHA-256 (RFC 2104), cut to 128 bits.

    What it is for goes into the signature, so a text used for something else is as wrong as a
    forged one.
    """

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
