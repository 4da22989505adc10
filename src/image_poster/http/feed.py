"""Routes for the feed, and their fast paths."""

import re
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromQuery, QueryParameter

from image_poster.domain import errors
from image_poster.domain.feed import FeedSort
from image_poster.domain.limits import FEED_PAGE_DEFAULT, LATEST_DEFAULT
from image_poster.domain.posts import UNFINISHED_POSTS, listed_statuses
from image_poster.http import openapi, post_bodies, posts, requests, responses
from image_poster.http.auth import Authenticator, require_identity
from image_poster.http.feed_pages import FeedPages, FeedParameters, fast_parameters, next_link


class FeedBody(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[post_bodies.PostBody]
    next: str | None


class OwnPostsBody(msgspec.Struct, frozen=True):
    """A page of the caller's own posts; `next` is the cursor of the following one."""

    posts: list[post_bodies.CreatedPostBody]
    next: str | None


_OwnStatuses = Literal[
    "awaiting_upload", "processing", "in_review", "ready", "hidden", "failed", "unfinished"
]
OwnStatus = Annotated[_OwnStatuses | None, QueryParameter()]
_MOVED = {308: openapi.response("`status=unfinished` has moved to `/me/posts`.")}


@get(
    "/posts",
    **openapi.anyone(
        "feed",
        openapi.cached("A page.", FeedBody) | _MOVED,
        *(errors.InvalidCursorError, errors.ValidationFailedError),
    ),
)
async def list_posts(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
    sort: FromQuery[FeedSort] = FeedSort.TOP,
    creator: FromQuery[str | None] = None,
    comments: posts.ShownComments = LATEST_DEFAULT,
    status: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The feed.

    Ready posts: `top` by comments, then newest; `new` newest first. It is the same for every
    caller. The next page: pass `next` as `cursor`.

    With `status=unfinished`, its former place: 308 to `/me/posts`.
    """
    if status is not None:
        if status != UNFINISHED_POSTS:
            raise errors.invalid("status", f"must be {UNFINISHED_POSTS}")
        query = urlencode(list(request.query_params.multi_items()))
        return Response(b"", status_code=308, headers={"location": f"/me/posts?{query}"})
    posts.check_shown(request, comments)
    pages: FeedPages = request.app.state.feed_pages
    parameters = FeedParameters(limit, cursor, sort, creator, comments)
    return await pages.response(parameters, request.headers)


@get(
    "/me/feed",
    **openapi.identified(
        "feed",
        {200: openapi.response("A page.", FeedBody)},
        *(errors.InvalidCursorError, errors.ValidationFailedError),
    ),
)
async def list_own_feed(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
    sort: FromQuery[FeedSort] = FeedSort.TOP,
    creator: FromQuery[str | None] = None,
    comments: posts.ShownComments = LATEST_DEFAULT,
) -> Response[bytes]:
    """The feed for the caller.

    As `GET /posts`, without posts of users whom the caller blocks, posts that the caller reported,
    and comments of blocked users. A page may be shorter, even empty: only `next: null` ends the
    feed.
    """
    posts.check_shown(request, comments)
    caller, pages = await require_identity(request), request.app.state.feed_pages
    parameters = FeedParameters(limit, cursor, sort, creator, comments)
    return await pages.own_response(parameters, caller.user)  # type: ignore[no-any-return]


@get(
    "/me/posts",
    **openapi.identified(
        "accounts",
        {200: openapi.response("A page.", OwnPostsBody)},
        *(errors.InvalidCursorError, errors.ValidationFailedError),
    ),
)
async def list_own_posts(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
    comments: posts.ShownComments = LATEST_DEFAULT,
    status: OwnStatus = None,
) -> Response[bytes]:
    """The caller's own posts.

    Of any status or of one, newest first. `unfinished` stands for `awaiting_upload`, `processing`
    and `failed`. Each post has what its creator needs to continue: `upload`, `failure`,
    `moderation`.
    """
    posts.check_shown(request, comments)
    caller, services = await require_identity(request), requests.services(request)
    statuses = listed_statuses(status)
    page = await services.feed.own_posts(caller.user, statuses, limit=limit, cursor=cursor)
    bodies = [
        await posts.visible_post_body(
            request, post.stored, caller, services.uploads.targets(post), comments
        )
        for post in page.items
        if not services.uploads.has_run_out(post)
    ]
    headers = {"cache-control": responses.NO_STORE}
    if page.next is not None:
        parameters = FeedParameters(limit, page.next, comments=comments)
        chosen = {} if status is None else {"status": status}
        headers |= next_link("/me/posts", parameters.query(**chosen))
    return responses.json_response(responses.page_body("posts", bodies, page.next), headers=headers)


def fast_route(pages: FeedPages, max_comments: int) -> responses.FastRoute:
    """The fast path of `list_posts`, for valid parameters only, with at most `max_comments`."""

    async def answer(request: responses.FastRequest) -> Response[bytes] | None:
        parameters = fast_parameters(request.scope["query_string"])
        if parameters is None or parameters.comments > max_comments:
            return None
        return await pages.response(parameters, request.conditions)

    return responses.FastRoute("/posts", re.compile("/posts"), answer)


def own_fast_route(
    pages: FeedPages, max_comments: int, authenticator: Authenticator
) -> responses.FastRoute:
    """The fast path of `list_own_feed`, as `fast_route`, for an identified caller."""

    async def answer(request: responses.FastRequest) -> Response[bytes] | None:
        parameters = fast_parameters(request.scope["query_string"])
        if parameters is None or parameters.comments > max_comments:
            return None
        caller = await authenticator.identify(requests.JsonRequest(request.scope))
        return None if caller is None else await pages.own_response(parameters, caller.user)

    return responses.FastRoute("/me/feed", re.compile("/me/feed"), answer)


ROUTES = (list_posts, list_own_feed, list_own_posts)
