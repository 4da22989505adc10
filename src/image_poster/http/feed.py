"""The feed, and a cache of its encoded pages that is cleared when the store changes.

Most readers request the same first page. Between two writes the cache answers it. A write's
response is sent only after its commit, so every user reads their own writes.
"""

import re
from collections.abc import Hashable
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
from image_poster.http import openapi, posts, requests, responses
from image_poster.http.auth import require_identity
from image_poster.services.feed import FeedService

_MAX_PAGES = 256
_MAX_PAGE_BYTES = 64 * 1024


class FeedBody(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[posts.CreatedPostBody]
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


class FeedPages:
    """The encoded pages of the feed, with a cache of at most 16 MiB, all of one version of the
    store.

    `shared`: a CDN in front may cache anonymous pages for a second, and serve them for 5 more while
    it revalidates (RFC 9111, RFC 5861). Then the CDN carries the reads, and the store does not.
    """

    def __init__(self, feed: FeedService, *, shared: bool = False) -> None:
        self._feed = feed
        self._shared = shared
        self._version: Hashable | None = None
        self._pages: dict[FeedParameters, EncodedPage] = {}

    async def response(
        self, parameters: FeedParameters, request: responses.Headers, *, is_anonymous: bool
    ) -> Response[bytes]:
        """The page with these parameters; `request` are the request's headers."""
        page = await self._page(parameters)
        headers = {"cache-control": _SHARED} if self._shared and is_anonymous else {}
        if page.link:
            headers["link"] = page.link
        return responses.tagged_json(request, page.body, page.etag, headers)

    async def _page(self, parameters: FeedParameters) -> EncodedPage:
        # Asked before the read, so a cached page is at least as new as its version.
        version = self._feed.version()
        if version != self._version:
            self._pages.clear()
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
                self._pages.clear()
            self._pages[parameters] = encoded
        return encoded


@get(
    "/posts",
    **openapi.anyone(
        "feed",
        openapi.cached("A page.", FeedBody),
        *(errors.InvalidCursorError, errors.IdentityRequiredError, errors.ValidationFailedError),
    ),
)
async def list_posts(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
    sort: FromQuery[FeedSort] = FeedSort.TOP,
    creator: FromQuery[str | None] = None,
    comments: posts.ShownComments = LATEST_DEFAULT,
    status: FromQuery[ListedStatus | None] = None,
) -> Response[bytes]:
    """The feed.

    Ready posts: `top` by comments, then newest; `new` newest first. The next page: pass `next`
    as `cursor`.

    With `status=unfinished`: the caller's own posts that are not ready, newest first, each with
    `upload` or `failure`. `sort` and `creator` have no effect then.
    """
    posts.check_shown(request, comments)
    if status is not None:
        return await _own_unfinished(request, FeedParameters(limit, cursor, comments=comments))
    pages: FeedPages = request.app.state.feed_pages
    parameters = FeedParameters(limit, cursor, sort, creator, comments)
    is_anonymous = "authorization" not in request.headers
    return await pages.response(parameters, request.headers, is_anonymous=is_anonymous)


def fast_route(pages: FeedPages, max_comments: int) -> responses.FastRoute:
    """The fast path of `list_posts`, for valid parameters only, with at most `max_comments`."""

    async def answer(request: responses.FastRequest) -> Response[bytes] | None:
        parameters = _fast_parameters(request.scope["query_string"])
        if parameters is None or parameters.comments > max_comments:
            return None
        is_anonymous = b"authorization" not in request.headers
        return await pages.response(parameters, request.conditions, is_anonymous=is_anonymous)

    return responses.FastRoute("/posts", re.compile("/posts"), answer)


def _encode_page(
    page: Page[StoredPost, str], parameters: FeedParameters, period: int
) -> EncodedPage:
    """The page, whose ETag is of the posts shown and of the existence of a next page. The cursor is
    no part of it, as a first page's cursor contains its time. With each `period` the ETag of a
    first page changes, so that clients do not keep an expired cursor."""
    bodies = [posts.post_body(stored, parameters.comments) for stored in page.items]
    tagged, link = b",".join(bodies), None
    if page.next is not None:
        link = parameters._replace(cursor=page.next).link()
        tagged = b"%b,%d" % (tagged, period if parameters.cursor is None else 0)
    return EncodedPage(
        responses.page_body("posts", bodies, page.next), f"W/{responses.etag_of(tagged)}", link
    )


async def _own_unfinished(
    request: requests.AnyRequest, parameters: FeedParameters
) -> Response[bytes]:
    """The caller's unfinished posts, uncached: a signed URL is for one caller, and expires."""
    caller, uploads = await require_identity(request), requests.services(request).uploads
    page = await requests.services(request).feed.unfinished(
        caller.user, limit=parameters.limit, cursor=parameters.cursor
    )
    bodies = [
        posts.own_post_body(post.stored, uploads.targets(post), parameters.comments)
        for post in page.items
        if not uploads.has_run_out(post)
    ]
    headers = {"cache-control": "no-store"}
    if page.next:
        headers["link"] = parameters._replace(cursor=page.next).link("status=unfinished&")
    return responses.json_response(responses.page_body("posts", bodies, page.next), headers=headers)


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
