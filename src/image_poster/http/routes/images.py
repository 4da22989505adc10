"""The pictures that are shown."""

from litestar import get
from litestar.params import FromPath

from image_poster.domain.errors import ImageNotFoundError, RangeNotSatisfiableError
from image_poster.domain.ids import is_id
from image_poster.domain.images import RENDITIONS
from image_poster.http.documents import answers, bytes_of, nothing
from image_poster.http.replies import IMMUTABLE, FileReply, file_reply
from image_poster.http.requests import AnyRequest, use_cases

_JPEG = "image/jpeg"
_FILES = {f"{name}.jpg": name for name in RENDITIONS}


@get(
    "/images/{post_id:str}/{file_name:str}",
    operation_id="getImage",
    summary="A picture",
    responses=answers(
        {
            200: bytes_of(_JPEG, "A JPEG in sRGB without metadata."),
            206: bytes_of(_JPEG, "The range that was asked for."),
            302: nothing("Where it is (AWS)."),
            304: nothing("You have it already."),
        },
        ImageNotFoundError,
        RangeNotSatisfiableError,
    ),
)
async def get_image(
    request: AnyRequest, post_id: FromPath[str], file_name: FromPath[str]
) -> FileReply:
    """`600.jpg` is the square, `1600.jpg` the whole picture."""
    if not is_id(post_id) or file_name not in _FILES:
        raise ImageNotFoundError
    file = await use_cases(request).read_picture.rendition(post_id, _FILES[file_name])
    return file_reply(request, file, _JPEG, IMMUTABLE)


ROUTES = [get_image]
