"""What the OpenAPI document says of requests whose headers and bodies the handlers read
themselves."""

from typing import Any

from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from image_poster.domain.images import ImageFormat
from image_poster.http.reservations import SHA256_HEX
from image_poster.tus import CONTENT_TYPE, VERSION

_TEXT = Schema(type=OpenAPIType.STRING)
_RESERVATION = Schema(
    type=OpenAPIType.OBJECT,
    required=["image"],
    properties={
        "image": Schema(
            type=OpenAPIType.OBJECT,
            required=["size", "content_type"],
            properties={
                "size": Schema(type=OpenAPIType.INTEGER, minimum=1),
                "content_type": Schema(type=OpenAPIType.STRING, enum=list(ImageFormat)),
                "sha256": Schema(type=OpenAPIType.STRING, pattern=SHA256_HEX),
            },
        ),
        "caption": _TEXT,
        "alt": _TEXT,
    },
)


class CreatePostOperation(Operation):
    """`POST /posts`: the two kinds of body that the handler reads by itself."""

    def __post_init__(self) -> None:
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=["image"],
            properties={
                "image": Schema(type=OpenAPIType.STRING, content_media_type="image/*"),
                "caption": _TEXT,
                "alt": _TEXT,
            },
        )
        self.request_body = RequestBody(
            content={
                "multipart/form-data": OpenAPIMediaType(schema=form),
                "application/json": OpenAPIMediaType(schema=_RESERVATION),
            },
            required=True,
        )


class _TusOperation(Operation):
    """A request of the tus protocol: which of its headers it takes."""

    headers: tuple[Parameter, ...] = ()
    takes_bytes = False

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), _header("Tus-Resumable", const=VERSION)]
        self.parameters += self.headers
        if self.takes_bytes:
            piece = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
            self.request_body = RequestBody(content={CONTENT_TYPE: piece})


def _header(name: str, *, required: bool = True, **schema: Any) -> Parameter:  # noqa: ANN401 - Schema's
    kind = schema.pop("type", OpenAPIType.STRING)
    return Parameter(
        name=name, param_in="header", required=required, schema=Schema(type=kind, **schema)
    )


_LENGTH = _header("Upload-Length", required=False, type=OpenAPIType.INTEGER, minimum=1)
_CHECKSUM = _header("Upload-Checksum", required=False)


class CreateUploadOperation(_TusOperation):
    """Creation, and with a body Creation With Upload."""

    headers = (
        _LENGTH,
        _header("Upload-Defer-Length", required=False, const="1"),
        _header("Upload-Metadata", required=False),
        _CHECKSUM,
    )
    takes_bytes = True


class PatchUploadOperation(_TusOperation):
    """A piece."""

    headers = (
        _header("Upload-Offset", type=OpenAPIType.INTEGER, minimum=0),
        _LENGTH,
        _CHECKSUM,
    )
    takes_bytes = True


class TusOperation(_TusOperation):
    """Any other."""


class PutUploadOperation(Operation):
    """The whole picture at once."""

    def __post_init__(self) -> None:
        picture = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        self.request_body = RequestBody(content={"image/*": picture}, required=True)
