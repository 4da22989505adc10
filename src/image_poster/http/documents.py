"""What the OpenAPI document says beside what Litestar reads off the handlers."""

from collections import defaultdict

import msgspec
from litestar import Litestar
from litestar.openapi.datastructures import ResponseSpec

from image_poster.domain.comments import Comment
from image_poster.domain.errors import (
    HostNotAllowedError,
    ImagePosterError,
    InternalError,
    InvalidRequestError,
    ValidationFailedError,
)
from image_poster.domain.posts import PostWithComments
from image_poster.http.problems import MEDIA_TYPE, Problem

Responses = dict[int, ResponseSpec]
# The ids of operations that answer HEAD alone.
HEAD_ONLY = {"findUpload"}


class FeedBody(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[PostWithComments]
    next: str | None


class CommentsBody(msgspec.Struct, frozen=True):
    """A page of comments, newest first; `next` is the cursor of the following one."""

    comments: list[Comment]
    next: str | None


def answers(success: Responses, *errors: type[ImagePosterError]) -> Responses:
    """The `responses` of a handler: what it gives, and the problem codes it may refuse with."""
    codes: dict[int, list[str]] = defaultdict(list)
    refusals: list[type[ImagePosterError]] = [*errors, HostNotAllowedError, InternalError]
    for error in refusals:
        codes[error.status].append(error.code)
    problems = {status: _problem(*found) for status, found in codes.items()}
    if ValidationFailedError in errors:
        # Litestar lists a 400 of its own for every handler with parameters.
        problems.setdefault(InvalidRequestError.status, _problem(InvalidRequestError.code))
    return {**problems, **success}


def json_of(container: type[msgspec.Struct], description: str) -> ResponseSpec:
    """A JSON answer."""
    return ResponseSpec(container, generate_examples=False, description=description)


def one_of(
    one: type[msgspec.Struct], other: type[msgspec.Struct], description: str
) -> ResponseSpec:
    """A JSON answer of either kind."""
    return ResponseSpec(one | other, generate_examples=False, description=description)  # type: ignore[arg-type]


def bytes_of(media_type: str, description: str) -> ResponseSpec:
    """An answer of bytes."""
    return ResponseSpec(
        bytes, generate_examples=False, description=description, media_type=media_type
    )


def nothing(description: str) -> ResponseSpec:
    """An answer without content."""
    return ResponseSpec(None, generate_examples=False, description=description)


def _problem(*codes: str) -> ResponseSpec:
    listed = ", ".join(f"`{code}`" for code in sorted(set(codes)))
    return ResponseSpec(
        Problem,
        generate_examples=False,
        description=f"Problem codes: {listed}",
        media_type=MEDIA_TYPE,
    )


def encoded_document(app: Litestar) -> bytes:
    """The OpenAPI document as JSON. What answers HEAD alone is a GET to Litestar (see `Edge`), and
    is told here as what it is."""
    document = app.openapi_schema.to_schema()
    for path in document["paths"].values():
        if path.get("get", {}).get("operationId") in HEAD_ONLY:
            path["head"] = path.pop("get")
    return msgspec.json.encode(document)
