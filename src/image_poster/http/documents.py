"""What the OpenAPI document says beside what Litestar reads off the handlers."""

from collections import defaultdict

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

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


class PostFormOperation(Operation):
    """`POST /posts`: the form that the handler reads by itself, as a stream."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=["image"],
            properties={
                "image": Schema(type=OpenAPIType.STRING, content_media_type="image/*"),
                "caption": text,
                "alt": text,
            },
        )
        self.request_body = RequestBody(
            content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True
        )
