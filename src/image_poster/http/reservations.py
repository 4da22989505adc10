"""`POST /posts` as JSON: the picture is announced, and comes later."""

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from image_poster.domain.errors import invalid
from image_poster.domain.images import declared_format
from image_poster.http.bodies import decoded, json_body
from image_poster.http.requests import AnyRequest
from image_poster.usecases.reserve_upload import UploadOrder

SHA256_HEX = "^[0-9A-Fa-f]{64}$"


class AnnouncedImage(Struct, frozen=True):
    """A picture to come: `size` in bytes, its media type, and the SHA-256 of it in hexadecimal
    digits if it is to be compared."""

    size: Annotated[int, Meta(ge=1)]
    content_type: str
    sha256: Annotated[str, Meta(pattern=SHA256_HEX)] | None = None


class PostReservation(Struct, frozen=True):
    """A post whose picture comes later."""

    image: AnnouncedImage
    caption: str = ""
    alt: str = ""


class Reservation(NamedTuple):
    """What is reserved, and the media type that was announced."""

    order: UploadOrder
    content_type: str


async def read_reservation(request: AnyRequest) -> Reservation:
    """Raises `InvalidJsonError`, `BodyTooLargeError`, `ValidationFailedError`."""
    sent = decoded(await json_body(request), PostReservation)
    image = sent.image
    if declared_format(image.content_type) is None:
        raise invalid("image.content_type", "must be a format that GET /limits lists")
    order = UploadOrder(
        length=image.size,
        caption=sent.caption,
        alt=sent.alt,
        sha256=bytes.fromhex(image.sha256 or ""),
    )
    return Reservation(order, image.content_type)
