"""What handlers take from a request beside its parameters."""

from typing import Any

from litestar import Request

from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.ids import is_id
from image_poster.usecases.all import UseCases

AnyRequest = Request[Any, Any, Any]


def use_cases(request: AnyRequest) -> UseCases:
    """The use cases of the edition that serves."""
    found: UseCases = request.app.state.use_cases
    return found


def known_post(post_id: str) -> str:
    """The id from a path, if it can be one; raises `PostNotFoundError`."""
    if not is_id(post_id):
        raise PostNotFoundError
    return post_id
