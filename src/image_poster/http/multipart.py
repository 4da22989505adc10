"""`POST /posts` as multipart/form-data: the image is written to the store as it arrives.

The texts of parts (RFC 7578) are decoded from their charset and transfer encoding, or refused. Raw
bytes of another encoding are never decoded as UTF-8.
"""

import binascii
import hashlib
from base64 import b64decode
from collections.abc import Callable
from typing import NamedTuple

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from image_poster.domain import errors
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.limits import Limits
from image_poster.domain.posts import PostTexts
from image_poster.http.requests import AnyRequest, declared_bytes, media_type
from image_poster.ports.images import StagedImage
from image_poster.services.posts import PostDraft
from image_poster.services.upload_bodies import CountedBody

_IMAGE = "image"
# Names the charset of the texts that do not say theirs (RFC 7578 section 4.6).
_CHARSET = "_charset_"
_TEXTS = ("caption", "alt", _CHARSET)
_TEXT_MAX_BYTES = 64 * 1024
_MAX_PARTS = 16
# What may surround the image: the other parts, their headers and the boundaries.
_ENVELOPE_MAX_BYTES = 256 * 1024
_DEFAULT_CHARSET = "utf-8"
# What HTTP libraries are seen to send; Latin-1 is what the web means by it (WHATWG Encoding
# Standard, section 4.2). Python knows many more, of which some are no charsets at all.
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "windows-1252",
    "latin1": "windows-1252",
    "windows-1252": "windows-1252",
    "iso-8859-15": "iso-8859-15",
    "utf-16": "utf-16",
}
# RFC 2045 section 6: these leave the bytes as they are.
_PLAIN = {"", "7bit", "8bit", "binary"}


async def receive_post_form(
    request: AnyRequest, image: StagedImage, limits: Limits, body: CountedBody, *, hashed: bool
) -> PostDraft:
    """Read the whole form (RFC 7578), write its part `image` into `image`, and refuse as early as
    possible. With `hashed` the draft gets the image's digest.

    Raises `UnsupportedMediaTypeError`, `InvalidMultipartError`, `UploadTooLargeError`,
    `MultipartTooLargeError`, `UnsupportedImageError`, `ValidationFailedError`, and
    `ClientGoneError` when the client went away.
    """
    declared = declared_bytes(request) or 0
    if declared > limits.image_bytes + _ENVELOPE_MAX_BYTES:
        raise errors.UploadTooLargeError
    if limits.multipart_bytes and declared > limits.multipart_bytes + _ENVELOPE_MAX_BYTES:
        raise errors.MultipartTooLargeError
    reader = _FormReader(image, limits, hashed=hashed)
    try:
        parser = PushMultipartParser(_boundary(request))
        async for chunk in body:
            if body.received_bytes > limits.image_bytes + _ENVELOPE_MAX_BYTES:
                raise errors.UploadTooLargeError
            if not parser.closed:
                for event in parser.parse(chunk):
                    await reader.handle(event)
        parser.close()
    except ParserLimitReached as exc:
        raise errors.InvalidMultipartError(
            "A part of the form has too many headers, or one that is too long."
        ) from exc
    except MultipartError as exc:
        raise errors.InvalidMultipartError from exc
    return reader.form()


def _boundary(request: AnyRequest) -> str:
    if media_type(request) != "multipart/form-data":
        raise errors.UnsupportedMediaTypeError(
            "Send the image as multipart/form-data, as the part `image`; or, to send its bytes "
            "later, reserve the post as JSON, with Content-Type: application/json."
        )
    boundary = request.content_type[1].get("boundary", "")
    if not boundary:
        raise errors.InvalidMultipartError(
            "Content-Type has no boundary. Let your HTTP library set that header."
        )
    return boundary


class _Text(NamedTuple):
    """A text part: its bytes so far, and their encoding."""

    content: bytearray
    charset: str | None
    transfer_encoding: str


class _FormReader:
    """Handles the parser's events: a segment (a part begins), bytes, or None (the part ends)."""

    def __init__(self, image: StagedImage, limits: Limits, *, hashed: bool) -> None:
        self._image = image
        self._limits = limits
        self._part = ""
        self._parts = 0
        self._texts: dict[str, _Text] = {}
        self._head = bytearray()
        self._image_bytes: int | None = None
        self._sha256 = hashlib.sha256() if hashed else None

    async def handle(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event.name or "", event)
        elif event is None:
            self._end()
        elif self._part == _IMAGE:
            await self._write_image(bytes(event))
        elif self._part in _TEXTS:
            self._add_text(event)

    def form(self) -> PostDraft:
        """The form, after its last part."""
        if self._image_bytes is None:
            raise errors.invalid(_IMAGE, "is required: send the image as the part `image`")
        digest = b"" if self._sha256 is None else self._sha256.digest()
        texts = PostTexts(self._text("caption"), self._text("alt"))
        return PostDraft(texts, digest, self._image_bytes)

    def _begin(self, name: str, part: MultipartSegment) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise errors.InvalidMultipartError(
                f"The form has more than {_MAX_PARTS} parts. Send `image`, `caption` and `alt`."
            )
        if name in self._texts or (name == _IMAGE and self._image_bytes is not None):
            raise errors.invalid(name, "must be sent once")
        self._part = name
        transfer_encoding = part.header("Content-Transfer-Encoding", "")
        if name == _IMAGE:
            _check_plain(name, transfer_encoding)
            self._image_bytes = 0
        elif name in _TEXTS:
            self._texts[name] = _Text(bytearray(), part.charset, transfer_encoding)

    def _end(self) -> None:
        if self._part == _IMAGE:
            if not self._image_bytes:
                raise errors.invalid(_IMAGE, "must not be empty")
            self._check_format()
        self._part = ""

    async def _write_image(self, chunk: bytes) -> None:
        self._image_bytes = (self._image_bytes or 0) + len(chunk)
        if self._image_bytes > self._limits.image_bytes:
            raise errors.UploadTooLargeError
        if len(self._head) < SNIFF_BYTES:
            self._head += chunk[: SNIFF_BYTES - len(self._head)]
            if len(self._head) == SNIFF_BYTES:
                self._check_format()
        if self._sha256 is not None:
            self._sha256.update(chunk)
        await self._image.write(chunk)

    def _check_format(self) -> None:
        if sniff(self._head) is None:
            raise errors.UnsupportedImageError

    def _add_text(self, chunk: bytes | bytearray) -> None:
        text = self._texts[self._part].content
        text += chunk
        if len(text) > _TEXT_MAX_BYTES:
            raise errors.invalid(self._part, f"at most {_TEXT_MAX_BYTES} bytes")

    def _text(self, name: str) -> str:
        text = self._texts.get(name)
        if text is None:
            return ""
        default = _DEFAULT_CHARSET if name == _CHARSET else self._text(_CHARSET) or _DEFAULT_CHARSET
        return _decoded(name, bytes(text.content), text.charset or default, text.transfer_encoding)


def _from_base64(content: bytes) -> bytes:
    return b64decode(b"".join(content.split()), validate=True)


_TRANSFER_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": _from_base64,
    "quoted-printable": binascii.a2b_qp,
}


def _check_plain(name: str, transfer_encoding: str) -> None:
    """Check that the part `name`, which is bytes, has no transfer encoding. Raises
    `ValidationFailedError`."""
    if transfer_encoding.strip().lower() not in _PLAIN:
        sent = transfer_encoding[:40]
        raise errors.invalid(
            name, f"has Content-Transfer-Encoding {sent}; send its bytes as they are"
        )


def _decoded(name: str, content: bytes, charset: str, transfer_encoding: str) -> str:
    """The text of the part `name`. Raises `ValidationFailedError` for an unknown encoding, and for
    bytes that are invalid in it."""
    decode = _TRANSFER_DECODERS.get(transfer_encoding.strip().lower())
    codec = _CODECS.get(charset.strip().lower())
    if decode is None:
        _check_plain(name, transfer_encoding)
    if codec is None:
        raise errors.invalid(name, f"comes in the charset {charset[:40]!r}; send it in UTF-8")
    try:
        # Half of a surrogate pair passes here: `domain.limits.clean` names it.
        return (content if decode is None else decode(content)).decode(codec, "surrogatepass")
    except UnicodeDecodeError as exc:
        raise errors.invalid(name, f"must be {codec.upper()}") from exc
    except (binascii.Error, ValueError) as exc:
        raise errors.invalid(name, f"is not valid {transfer_encoding}") from exc
