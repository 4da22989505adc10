"""Encoding of every response before it is sent."""

from typing import NamedTuple

from image_poster.http.cors import Cors, Headers
from image_poster.http.encodings import (
    CODINGS,
    MIN_BYTES,
    Compressor,
    best_coding,
    encoded_headers,
    is_json,
    with_length,
)
from image_poster.http.public_url import PublicUrl


class ResponseEncoder(NamedTuple):
    """Encodes responses: public URLs, compression, and the CORS headers."""

    public_url: PublicUrl
    compressor: Compressor
    cors: Cors

    async def body(self, headers: Headers, body: bytes, accepted: str) -> tuple[Headers, bytes]:
        """Encode a body of one chunk: JSON with URLs, in a coding that the client accepts."""
        if not is_json(headers):
            return headers, body
        shown = self.public_url.body(body)
        if len(shown) < MIN_BYTES:
            return with_length(headers, len(shown)), shown
        coding = best_coding(accepted, CODINGS)
        if coding:
            shown = await self.compressor.compressed(shown, coding)
        return encoded_headers(headers, coding, len(shown)), shown
