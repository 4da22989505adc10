"""The feed, and a cache of its encoded pages that is cleared when the store changes.

Most readers request the same first page. Between two writes the cache answers it. A write's
response is sent only after its commit, so every user reads their own writes.
"""

import re
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromQuery

from image_poster.domain import errors
from image_poster.domain.feed import FeedSort, ListedStatus
from image_poster.domain.limits import FEED_PAGE_DEFAULT, LATEST_DEFAULT
from image_poster.domain.posts import StoredPost
from image_poster.domain.signing import Page
from image_poster.http import openapi
from image_poster.http.auth import require_identity
from image_poster.http.posts import (
    CreatedPostBody,
    ShownComments,
    check_shown,
    own_post_body,
    post_body,
)
from image_poster.http.requests import AnyRequest, PageLimit, services
from image_poster.http.responses import (
    FastRequest,
    FastRoute,
    Headers,
    etag_of,
    json_response,
    page_body,
    tagged_json,
)
from image_poster.services.container import Services
from image_poster.services.feed import FeedService

_MAX_PAGES = 256
_MAX_PAGE_BYTES = 64 * 1024


class FeedBody(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[CreatedPostBody]
    next: str | None


class FeedParameters(NamedTuple):
    """The parameters of a page, which are also its cache key. The page must depend on nothing else
    of a request: the next caller with the same parameters gets the cached page."""

    limit: int = FEED_PAGE_DEFAULT
    cursor: str | None = None
    sort: FeedSort = FeedSort.TOP
    creator: str | None = None
    comments: int = LATEST_DEFAULT

    def link(self, more: str = "") -> str:
        """The Link header (RFC 8288) to this page as the next one, with `more` in its query;
        defaults are omitted."""
        query = {
            name: value
            for name, value in self._asdict().items()
            if value != self._field_defaults[name]
        }
        return f'</posts?{more}{urlencode(query)}>; rel="next"'


_SHARED = "public, max-age=1, stale-while-revalidate=5"


class EncodedPage(NamedTuple):
    """An encoded page with its ETag (weak) and its Link header, if there is a next."""

    body: bytes
    etag: str
    link: str | None


class PageCache:
    """A cache of at most 16 MiB of pages, all of one version of the store.

    `shared`: a CDN in front may cache anonymous pages for a second, and serve them for 5 more while
    it revalidates (RFC 9111, RFC 5861). Then the CDN carries the reads, and the store does not.
    """

    def __init__(self, version: Callable[[], Hashable | None], *, shared: bool = False) -> None:
        self.is_shared = shared
        self._current_version = version
        self._version: Hashable | None = None
        self._pages: dict[FeedParameters, EncodedPage] = {}

    def find(self, parameters: FeedParameters) -> EncodedPage | None:
        """The cached page, if nothing was written since. Call this before reading the store: then a
        page stored with `add` is at least as new as its version."""
        version = self._current_version()
        if version != self._version:
            self._pages.clear()
            self._version = version
        return self._pages.get(parameters)

    def add(self, parameters: FeedParameters, page: EncodedPage) -> None:
        """Cache a page, unless it is large, or the store's version is unknown."""
        if self._version is None or len(page.body) > _MAX_PAGE_BYTES:
            return
        if len(self._pages) >= _MAX_PAGES:
            self._pages.clear()
        self._pages[parameters] = page


@get(
    "/posts",
    **openapi.anyone(
        "feed",
        openapi.cached("A page.", FeedBody),
        *(errors.InvalidCursorError, errors.IdentityRequiredError, errors.ValidationFailedError),
    ),
)
async def list_posts(
    request: AnyRequest,
    limit: PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
    sort: FromQuery[FeedSort] = FeedSort.TOP,
    creator: FromQuery[str | None] = None,
    comments: ShownComments = LATEST_DEFAULT,
    status: FromQuery[ListedStatus | None] = None,
) -> Response[bytes]:
    """The feed.

    Ready posts: `top` by comments, then newest; `new` newest first. Go on with `next`.

    With `status=unfinished`: the caller's own posts that are not ready, newest first, each with
    `upload` or `failure`. `sort` and `creator` have no effect then.
    """
    check_shown(request, comments)
    if status is not None:
        return await _own_unfinished(request, FeedParameters(limit, cursor, comments=comments))
    parameters = FeedParameters(limit, cursor, sort, creator, comments)
    return await _page_response(
        services(request).feed,
        request.app.state.feed_pages,
        parameters,
        request.headers,
        is_anonymous="authorization" not in request.headers,
    )


def fast_route(all_services: Services, pages: PageCache) -> FastRoute:
    """The fast path of `list_posts`, for valid parameters only."""

    async def answer(request: FastRequest) -> Response[bytes] | None:
        parameters = _fast_parameters(request.scope["query_string"])
        if parameters is None or parameters.comments > all_services.limits.latest_kept:
            return None
        is_anonymous = b"authorization" not in request.headers
        return await _page_response(
            all_services.feed, pages, parameters, request.conditions, is_anonymous=is_anonymous
        )

    return FastRoute("/posts", re.compile("/posts"), answer)


async def _page_response(
    feed: FeedService,
    pages: PageCache,
    parameters: FeedParameters,
    request: Headers,
    *,
    is_anonymous: bool,
) -> Response[bytes]:
    """The page with these parameters, from the cache or the store. `request` are the request's
    headers."""
    encoded = pages.find(parameters)
    if encoded is None:
        limit, cursor, sort, creator, _ = parameters
        page = await feed.page(sort=sort, limit=limit, cursor=cursor, creator=creator)
        encoded = _encode_page(page, parameters, feed.period())
        pages.add(parameters, encoded)
    headers = {"cache-control": _SHARED} if pages.is_shared and is_anonymous else {}
    if encoded.link:
        headers["link"] = encoded.link
    return tagged_json(request, encoded.body, encoded.etag, headers)


def _encode_page(
    page: Page[StoredPost, str], parameters: FeedParameters, period: int
) -> EncodedPage:
    """The page, whose ETag is of the posts shown and of the existence of a next page. The cursor is
    no part of it, as a first page's cursor contains its time. With each `period` the ETag of a
    first page changes, so that clients do not keep an expired cursor."""
    posts = [post_body(stored, parameters.comments) for stored in page.items]
    tagged, link = b",".join(posts), None
    if page.next is not None:
        link = parameters._replace(cursor=page.next).link()
        tagged = b"%b,%d" % (tagged, period if parameters.cursor is None else 0)
    return EncodedPage(page_body("posts", posts, page.next), f"W/{etag_of(tagged)}", link)


async def _own_unfinished(request: AnyRequest, parameters: FeedParameters) -> Response[bytes]:
    """The caller's unfinished posts, uncached: a signed URL is for one caller, and expires."""
    caller, uploads = await require_identity(request), services(request).uploads
    page = await services(request).feed.unfinished(
        caller.user, limit=parameters.limit, cursor=parameters.cursor
    )
    posts = [
        own_post_body(post.stored, parameters.comments, uploads.targets(post))
        for post in page.items
        if not uploads.has_run_out(post)
    ]
    headers = {"cache-control": "no-store"}
    if page.next:
        headers["link"] = parameters._replace(cursor=page.next).link("status=unfinished&")
    return json_response(page_body("posts", posts, page.next), headers=headers)


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


ROUTES = (list_posts,)
