"""What the server, the template process and the child of one image say to each other.

server → template   `RenderSettings` and four descriptors, one message of a SEQPACKET socket
child → server      lines of JSON, each a `Message`, over the image's own socket
server → child      one line, empty: the memory is there, go on
template → server   the last `Message`, by which the child has ended

A child may have been taken over, so the server believes nothing that it says without a look:
`check_rendered` and `check_rejected` let through what a post may hold, and no more.
"""

import re

import msgspec

from image_poster.adapters.images.confinement import Confinement
from image_poster.domain import images
from image_poster.domain.images import ImageFit, ImageRejectedError, RenderedImage

MAX_LINE_BYTES = 16_384
_MAX_DETAIL_CHARACTERS = 500
GO_ON = b"\n"

# A BlurHash of at most 9 by 9 components has 6 characters, and 2 for each further component.
_PLACEHOLDER = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,166}")
_REASONS = {"image_unreadable", "image_unsupported", "image_too_large"}


class RenderSettings(msgspec.Struct, frozen=True):
    """How images are made; `max_pixels` counts width times height of the source. `memory_bytes` and
    `cpu_seconds` bound what one image may take, and are enforced by the kernel. With `rebuild`, the
    file is rebuilt before it is decoded: its decoder refused it as it is."""

    fit: ImageFit = "cover"
    max_pixels: int = 100_000_000
    memory_bytes: int = 2_000_000_000
    cpu_seconds: int = 60
    rebuild: bool = False


class Descriptors(msgspec.Struct, frozen=True):
    """What a child has of the world: the original to read, two renditions to write, its socket."""

    original: int
    small: int
    large: int
    answers: int


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of: the memory in bytes that is needed (with what confines the child), what was
    made, why the image was rejected (code and detail), what broke, and how the child ended (as
    `os.waitstatus_to_exitcode` says it, with the most memory in bytes and the processor time that
    it had)."""

    needs: int | None = None
    confinement: Confinement | None = None
    rendered: RenderedImage | None = None
    rejected: tuple[str, str] | None = None
    broke: str | None = None
    ended: int | None = None
    peak_bytes: int = 0
    cpu_seconds: float = 0


decode_message = msgspec.json.Decoder(Message).decode


def line_of(message: Message) -> bytes:
    """The message as a line."""
    return msgspec.json.encode(message) + b"\n"


def check_rendered(rendered: RenderedImage) -> RenderedImage:
    """The same, if it can be true. Raises `ImageWorkFailedError`."""
    for size, side in ((rendered.small, images.SMALL_SIDE), (rendered.large, images.LARGE_SIDE)):
        if not (1 <= size.width <= side and 1 <= size.height <= side):
            raise images.ImageWorkFailedError(
                f"no rendition has {size.width} x {size.height} pixels"
            )
    if not _PLACEHOLDER.fullmatch(rendered.placeholder):
        raise images.ImageWorkFailedError("the placeholder is no BlurHash")
    return rendered


def check_rejected(code: str, detail: str) -> ImageRejectedError:
    """The error to raise, if there is such a reason. Raises `ImageWorkFailedError`."""
    if code not in _REASONS:
        raise images.ImageWorkFailedError("an image was rejected for no reason that there is")
    return ImageRejectedError(code, detail[:_MAX_DETAIL_CHARACTERS])
