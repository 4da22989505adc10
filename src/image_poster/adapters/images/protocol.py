"""The messages of the server, the fork server and the child of one image.

- server → fork server: `RenderSettings` and four descriptors, one message of a SEQPACKET socket
- child → server: lines of JSON, each a `Message`, over the image's own socket
- server → child: one empty line, which grants the memory
- fork server → server: the last `Message`, which reports the end of the child

A child may be compromised, so the server checks everything that it sends. `check_rendered` and
`check_rejected` accept only values that a post may hold.
"""

import re
from collections.abc import Callable

import msgspec

from image_poster.adapters.images.confinement import Confinement
from image_poster.domain.images import (
    LARGE_SIDE,
    MAX_QUALITY,
    SMALL_SIDE,
    ImageFit,
    ImageRejectedError,
    ImageWorkFailedError,
    RenderedImage,
    is_hash,
)

MAX_LINE_BYTES = 16_384
_MAX_DETAIL_CHARACTERS = 500
MEMORY_GRANTED = b"\n"

# A BlurHash of at most 9 by 9 components has 6 characters, and 2 for each further component.
_PLACEHOLDER = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,166}")
_REJECTION_CODES = {"image_unreadable", "image_unsupported", "image_too_large"}


class RenderSettings(msgspec.Struct, frozen=True):
    """Settings of image work.

    `max_pixels` limits width times height of the source. `memory_bytes` and `cpu_seconds` limit one
    image, and the kernel enforces them. With `rebuild`, the file is rebuilt before it is decoded,
    since its decoder refused the original.
    """

    fit: ImageFit = "cover"
    max_pixels: int = 100_000_000
    memory_bytes: int = 2_000_000_000
    cpu_seconds: int = 60
    rebuild: bool = False


class Descriptors(msgspec.Struct, frozen=True):
    """All descriptors of a child: the original to read, two renditions to write, its socket."""

    original: int
    small: int
    large: int
    answers: int


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message; exactly one of these fields is set.

    - needs: the memory that the image needs, in bytes; with it, `confinement` has the child's
      measures in force
    - rendered: the result; with it, `encode_seconds` is the time after the decode
    - rejected: the code and detail of the rejection
    - broke: the error of failed work
    - ended: the exit code (`os.waitstatus_to_exitcode`), with the child's peak memory in bytes and
      its processor time in seconds
    """

    needs: int | None = None
    confinement: Confinement | None = None
    rendered: RenderedImage | None = None
    encode_seconds: float = 0
    rejected: tuple[str, str] | None = None
    broke: str | None = None
    ended: int | None = None
    peak_bytes: int = 0
    cpu_seconds: float = 0

    def line(self) -> bytes:
        """Encode the message as a line."""
        return msgspec.json.encode(self) + b"\n"


decode_message = msgspec.json.Decoder(Message).decode

AcquireMemory = Callable[[int], None]
# Renders an image; it calls the third argument with the bytes that it needs before it decodes.
RenderWork = Callable[[Descriptors, RenderSettings, AcquireMemory], Message]


def check_rendered(rendered: RenderedImage) -> RenderedImage:
    """Return the same result if it is plausible. Raises `ImageWorkFailedError`."""
    for size, side in ((rendered.small, SMALL_SIDE), (rendered.large, LARGE_SIDE)):
        if not (1 <= size.width <= side and 1 <= size.height <= side):
            raise ImageWorkFailedError(f"no rendition has {size.width} x {size.height} pixels")
    if not _PLACEHOLDER.fullmatch(rendered.placeholder):
        raise ImageWorkFailedError("the placeholder is no BlurHash")
    if not (rendered.hash == "" or is_hash(rendered.hash)):
        raise ImageWorkFailedError("the hash is no PDQ hash")
    if not 0 <= rendered.hash_quality <= MAX_QUALITY:
        raise ImageWorkFailedError(f"no hash has the quality {rendered.hash_quality}")
    return rendered


def check_rejected(code: str, detail: str) -> ImageRejectedError:
    """Return the error to raise for a known code. Raises `ImageWorkFailedError` for others."""
    if code not in _REJECTION_CODES:
        raise ImageWorkFailedError("the image process rejected the image with an unknown code")
    return ImageRejectedError(code, detail[:_MAX_DETAIL_CHARACTERS])
