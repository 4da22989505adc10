"""The feed, and a cache of its encoded pages that is cleared when the store changes.

Most readers request the same first page. Between two writes the cache answers it. A write's
response is sent only after its commit, so every user reads their own writes.
"""

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromQuery, QueryParameter

from image_poster.domain import errors
from image_poster.domain.comments import decode_comment
from image_poster.domain.feed import FeedSort
from image_poster.domain.limits import FEED_PAGE_DEFAULT, LATEST_DEFAULT, LATEST_KEPT
from image_poster.domain.posts import UNFINISHED_POSTS, StoredPost, listed_statuses
from image_poster.domain.signing import Page
from image_poster.http import openapi, post_bodies, posts, requests, responses
from image_poster.http.auth import require_identity
from image_poster.services.feed import FeedService

_MAX_PAGES = 256
_MAX_PAGE_BYTES = 64 * 1024


class FeedBody(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[post_bodies.PostBody]
    next: str | None


class OwnPostsBody(msgspec.Struct, frozen=True):
    """A page of the caller's own posts; `next` is the cursor of the following one."""

    posts: list[post_bodies.CreatedPostBody]
    next: str | None


class FeedParameters(NamedTuple):
    """The parameters of a page, which are also its cache key. The page must depend on nothing else
    of a request: the next caller with the same parameters gets the cached page."""

    limit: int = FEED_PAGE_DEFAULT
    cursor: str | None = None
    sort: FeedSort = FeedSort.TOP
    creator: str | None = None
    comments: int = LATEST_DEFAULT

    def query(self, **more: str) -> str:
        """The query of this page, with `more`; defaults are omitted."""
        changed = {
            name: value
            for name, value in self._asdict().items()
            if value != self._field_defaults[name]
        }
        return urlencode({**more, **changed})


def next_link(path: str, query: str | None) -> dict[str, str]:
    """The Link header (RFC 8288) to the next page; none without its query."""
    return {} if query is None else {"link": f'<{path}?{query}>; rel="next"'}


_OwnStatuses = Literal[
    "awaiting_upload", "processing", "in_review", "ready", "hidden", "failed", "unfinished"
]
OwnStatus = Annotated[_OwnStatuses | None, QueryParameter()]
_MOVED = {308: openapi.response("`status=unfinished` has moved to `/me/posts`.")}
_SHARED = "public, max-age=1, stale-while-revalidate=5"


class EncodedPage(NamedTuple):
    """An encoded page with its ETag (weak), the query of the next page, if there is one, and the
    page itself."""

    body: bytes
    etag: str
    next_query: str | None
    page: Page[StoredPost, str]


class PageContent(NamedTuple):
    """The ids of a page's posts, and the creators of these and of their latest comments."""

    post_ids: frozenset[str]
    creators: frozenset[str]


class FeedPages:
    """The encoded pages of the feed, with a cache of at most 32 MiB, all of one version of the
    store.

    `shared`: a CDN in front may cache pages for a second, and serve them for 5 more while
    it revalidates (RFC 9111, RFC 5861). Then the CDN carries the reads, and the store does not.
    """

    def __init__(self, feed: FeedService, *, shared: bool = False) -> None:
        self._feed = feed
        self._shared = shared
        self._version: Hashable | None = None
        self._pages: dict[FeedParameters, EncodedPage] = {}
        self._contents: dict[FeedParameters, PageContent] = {}

    async def response(
        self, parameters: FeedParameters, request: responses.Headers
    ) -> Response[bytes]:
        """The page with these parameters, the same for every caller; `request` are the request's
        headers."""
        page = await self._page(parameters)
        headers = {"cache-control": _SHARED} if self._shared else {}
        headers |= next_link("/posts", page.next_query)
        return responses.tagged_json(request, page.body, page.etag, headers)

    async def own_response(self, parameters: FeedParameters, viewer: str) -> Response[bytes]:
        """The page with these parameters, without what `viewer` blocks or reported. Where that
        omits nothing, the bytes of the page are sent."""
        encoded = await self._page(parameters)
        content = self._content(parameters, encoded)
        excluded = await self._feed.excluded(viewer, content.post_ids)
        body = encoded.body
        if excluded.posts or not excluded.users.isdisjoint(content.creators):
            shown = excluded.remaining(encoded.page.items)
            bodies = [post_bodies.post_body(stored, parameters.comments) for stored in shown]
            body = responses.page_body("posts", bodies, encoded.page.next)
        headers = {"cache-control": responses.NO_STORE}
        headers |= next_link("/me/feed", encoded.next_query)
        return responses.json_response(body, headers=headers)

    def _content(self, parameters: FeedParameters, encoded: EncodedPage) -> PageContent:
        """The content of an encoded page, cached as long as that."""
        content = self._contents.get(parameters)
        if content is None:
            content = page_content(encoded.page)
            if self._pages.get(parameters) is encoded:
                self._contents[parameters] = content
        return content

    async def _page(self, parameters: FeedParameters) -> EncodedPage:
        # Asked before the read, so a cached page is at least as new as its version.
        version = self._feed.version()
        if version != self._version:
            self._clear()
            self._version = version
        cached = self._pages.get(parameters)
        if cached is not None:
            return cached
        limit, cursor, sort, creator, _ = parameters
        page = await self._feed.page(sort=sort, limit=limit, cursor=cursor, creator=creator)
        encoded = _encode_page(page, parameters, self._feed.period())
        if (
            version is not None
            and version == self._version
            and len(encoded.body) <= _MAX_PAGE_BYTES
        ):
            if len(self._pages) >= _MAX_PAGES:
                self._clear()
            self._pages[parameters] = encoded
        return encoded

    def _clear(self) -> None:
        self._pages.clear()
        self._contents.clear()


def page_content(page: Page[StoredPost, str]) -> PageContent:
    """The ids and creators of a page."""
    creators = {stored.post.creator for stored in page.items}
    for stored in page.items:
        documents = stored.latest_comments(LATEST_KEPT)
        creators.update(decode_comment(document).creator for document in documents)
    return PageContent(frozenset(stored.id for stored in page.items), frozenset(creators))


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
        parameters = _fast_parameters(request.scope["query_string"])
        if parameters is None or parameters.comments > max_comments:
            return None
        return await pages.response(parameters, request.conditions)

    return responses.FastRoute("/posts", re.compile("/posts"), answer)


def _encode_page(
    page: Page[StoredPost, str], parameters: FeedParameters, period: int
) -> EncodedPage:
    """The page, whose ETag is of the posts shown and of the existence of a next page. The cursor is
    no part of it, as a first page's cursor contains its time. With each `period` the ETag of a
    first page changes, so that clients do not keep an expired cursor."""
    bodies = [post_bodies.post_body(stored, parameters.comments) for stored in page.items]
    tagged, query = b",".join(bodies), None
    if page.next is not None:
        query = parameters._replace(cursor=page.next).query()
        tagged = b"%b,%d" % (tagged, period if parameters.cursor is None else 0)
    body = responses.page_body("posts", bodies, page.next)
    return EncodedPage(body, f"W/{responses.etag_of(tagged)}", query, page)


_FAST_PARAMETERS = {
    "limit": re.compile(r"[1-9]\d?|100", re.ASCII),
    "cursor": re.compile(r"[\w-]+", re.ASCII),
    "sort": re.compile("|".join(FeedSort)),
    "creator": re.compile(r"[\w.@-]+", re.ASCII),
    "comments": re.compile(r"\d|10", re.ASCII),
}


@lru_cache(1024)
def _fast_parameters(query: bytes) -> FeedParameters | None:
    """The parameters; None if any part of the query is unusual, even an escaped character."""
    pairs = [pair.partition("=") for pair in query.decode("latin-1").split("&") if query]
    values = {name: value for name, _, value in pairs}
    if len(values) != len(pairs) or not values.keys() <= _FAST_PARAMETERS.keys():
        return None
    if not all(_FAST_PARAMETERS[name].fullmatch(value) for name, value in values.items()):
        return None
    return FeedParameters(
        limit=int(values.get("limit", FEED_PAGE_DEFAULT)),
        cursor=values.get("cursor"),
        sort=FeedSort(values.get("sort", FeedSort.TOP)),
        creator=values.get("creator"),
        comments=int(values.get("comments", LATEST_DEFAULT)),
    )


ROUTES = (list_posts, list_own_feed, list_own_posts)
