"""`POST /posts` as JSON: reserves a post whose image is uploaded later."""

from typing import Annotated

import msgspec
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from msgspec import Meta

from image_poster.domain import errors
from image_poster.domain.images import ImageFormat, declared_format
from image_poster.domain.posts import PostTexts
from image_poster.domain.uploads import UploadOrder
from image_poster.http import requests

_SHA256_HEX = "^[0-9A-Fa-f]{64}$"


class AnnouncedImage(msgspec.Struct, frozen=True):
    """An image to come: `size` in bytes, its media type, and the SHA-256 of it in hexadecimal
    digits if it is to be compared."""

    size: Annotated[int, Meta(ge=1)]
    content_type: str
    sha256: Annotated[str, Meta(pattern=_SHA256_HEX)] | None = None


class PostReservation(msgspec.Struct, frozen=True):
    """A post whose image comes later. Null is as good as no text."""

    image: AnnouncedImage
    caption: str | None = None
    alt: str | None = None


_OPTIONAL_TEXT = Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL])
_OPTIONAL_TEXTS = {"caption": _OPTIONAL_TEXT, "alt": _OPTIONAL_TEXT}
_ANNOUNCED = Schema(
    type=OpenAPIType.OBJECT,
    required=["size", "content_type"],
    properties={
        "size": Schema(type=OpenAPIType.INTEGER, minimum=1),
        "content_type": Schema(type=OpenAPIType.STRING, enum=list(ImageFormat)),
        "sha256": Schema(type=OpenAPIType.STRING, pattern=_SHA256_HEX),
    },
)
RESERVATION = Schema(
    type=OpenAPIType.OBJECT, required=["image"], properties={"image": _ANNOUNCED, **_OPTIONAL_TEXTS}
)


async def read_reservation(request: requests.AnyRequest) -> tuple[UploadOrder, str]:
    """The reserved upload, and the media type of its image. Raises `InvalidJsonError`,
    `BodyTooLargeError`, `ValidationFailedError`."""
    sent = requests.decoded(await requests.json_body(request), PostReservation)
    image = sent.image
    if declared_format(image.content_type) is None:
        raise errors.invalid("image.content_type", "must be a format that GET /limits lists")
    order = UploadOrder(
        length=image.size,
        texts=PostTexts(sent.caption or "", sent.alt or ""),
        sha256=bytes.fromhex(image.sha256 or ""),
    )
    return order, image.content_type.lower()
