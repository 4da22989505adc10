"""Requests: reading JSON, and what handlers take from a request beside its parameters."""

from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.params import QueryParameter

from image_poster.domain.errors import InvalidJsonError, PostNotFoundError
from image_poster.domain.ids import is_id
from image_poster.domain.limits import FEED_PAGE_MAX
from image_poster.usecases.all import UseCases

AnyRequest = Request[Any, Any, Any]
PageLimit = Annotated[int, QueryParameter(ge=1, le=FEED_PAGE_MAX)]


def parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Whatever makes JSON unreadable is `InvalidJsonError`, be it bytes that are no UTF-8, a number
    beyond reason, or brackets without end."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidJsonError from exc


class JsonRequest(AnyRequest):
    """Litestar's request, but for JSON, which is read by `parsed`."""

    async def json(self) -> Any:  # noqa: ANN401 - as Litestar's
        return parsed(await self.body())


def use_cases(request: AnyRequest) -> UseCases:
    """The use cases of the edition that serves."""
    found: UseCases = request.app.state.use_cases
    return found


def known_post(post_id: str) -> str:
    """The id from a path, if it can be one; raises `PostNotFoundError`."""
    if not is_id(post_id):
        raise PostNotFoundError
    return post_id
