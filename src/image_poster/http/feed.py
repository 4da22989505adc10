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
from image_poster.http.auth import caller
from image_poster.http.fast import EncodedResponse, FastRequest, FastRoute
from image_poster.http.posts import (
    CreatedPostBody,
    ShownComments,
    check_shown,
    own_post_body,
    post_body,
)
from image_poster.http.requests import AnyRequest, PageLimit, services
from image_poster.http.responses import etag_of, json_response, tagged_json, tagged_ready
from image_poster.services.feed import FeedService
from image_poster.services.registry import Services

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
        given = self._asdict().items()
        query = {name: value for name, value in given if value != self._field_defaults[name]}
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
        self._shared = shared
        self._current_version = version
        self._version: Hashable | None = None
        self._pages: dict[Hashable, EncodedPage] = {}

    def find(self, question: Hashable) -> EncodedPage | None:
        """The cached page, if nothing was written since. Call this before reading the store: then a
        page stored with `keep` is at least as new as its version."""
        version = self._current_version()
        if version != self._version:
            self._pages.clear()
            self._version = version
        return self._pages.get(question)

    def caching(self, *, is_anonymous: bool) -> dict[str, str]:
        """The Cache-Control for a page; empty for identified callers, and without a CDN."""
        return {"cache-control": _SHARED} if self._shared and is_anonymous else {}

    def keep(self, question: Hashable, page: EncodedPage) -> None:
        """Cache a page, unless it is large, or the store's version is unknown."""
        if self._version is None or len(page.body) > _MAX_PAGE_BYTES:
            return
        if len(self._pages) >= _MAX_PAGES:
            self._pages.clear()
        self._pages[question] = page


@get(
    "/posts",
    operation_id="listPosts",
    security=openapi.ANYONE,
    tags=["feed"],
    summary="The feed",
    responses=openapi.responses(
        {
            200: openapi.json_of(FeedBody, "A page."),
            304: openapi.nothing("You have this page already."),
        },
        errors.InvalidCursorError,
        errors.IdentityRequiredError,
        errors.ValidationFailedError,
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
    """Ready posts: `top` by comments, then newest; `new` newest first. Go on with `next`.

    With `status=unfinished`, one's own posts that are not ready, newest first, each with `upload`
    or `failure`; `sort` and `creator` mean nothing then.
    """
    check_shown(request, comments)
    if status is not None:
        return await _own_unfinished(request, FeedParameters(limit, cursor, comments=comments))
    question = FeedParameters(limit, cursor, sort, creator, comments)
    pages: PageCache = request.app.state.feed_pages
    ready = await _page(services(request).feed, pages, question)
    headers = pages.caching(is_anonymous="authorization" not in request.headers)
    if ready.link:
        headers["link"] = ready.link
    return tagged_json(request, ready.body, ready.etag, headers)


async def _page(feed: FeedService, pages: PageCache, question: FeedParameters) -> EncodedPage:
    ready = pages.find(question)
    if ready is None:
        limit, cursor, sort, creator, _ = question
        page = await feed.page(sort=sort, limit=limit, cursor=cursor, creator=creator)
        ready = _ready_page(page, question, feed.period())
        pages.keep(question, ready)
    return ready


async def _own_unfinished(request: AnyRequest, question: FeedParameters) -> Response[bytes]:
    """The caller's unfinished posts, uncached: a signed URL is for one caller, and expires."""
    found, who = services(request), await caller(request)
    page = await found.feed.unfinished(who.user, limit=question.limit, cursor=question.cursor)
    posts = [
        own_post_body(post.stored, question.comments, found.uploads.targets(post))
        for post in page.items
        if not found.uploads.has_run_out(post)
    ]
    body = b'{"posts":[%b],"next":%b}' % (b",".join(posts), msgspec.json.encode(page.next))
    headers = {"cache-control": "no-store"}
    if page.next:
        link = question._replace(cursor=page.next).link("status=unfinished&")
        headers["link"] = link
    return json_response(body, headers=headers)


def _ready_page(page: Page[StoredPost, str], question: FeedParameters, period: int) -> EncodedPage:
    posts = b",".join([post_body(stored, question.comments) for stored in page.items])
    body = b'{"posts":[%b],"next":%b}' % (posts, msgspec.json.encode(page.next))
    link = question._replace(cursor=page.next).link() if page.next else None
    return EncodedPage(body, _etag(posts, page, question, period), link)


def _etag(posts: bytes, page: Page[StoredPost, str], question: FeedParameters, period: int) -> str:
    """The ETag of the posts shown and of the existence of a next page, without the cursor, as a
    first page's cursor contains its time. With each `period` the ETag of a first page changes, so
    that clients do not keep an expired cursor."""
    if page.next is None:
        return f"W/{etag_of(posts)}"
    made = period if question.cursor is None else 0
    return f"W/{etag_of(b'%b,%d' % (posts, made))}"


ROUTES = (list_posts,)


def fast_route(found: Services, pages: PageCache) -> FastRoute:
    """The fast path of `list_posts`, for valid parameters only."""

    async def answer(asked: FastRequest) -> EncodedResponse | None:
        question = _usual_question(asked.query)
        if question is None or question.comments > found.limits.latest_kept:
            return None
        page = await _page(found.feed, pages, question)
        headers = pages.caching(is_anonymous=b"authorization" not in asked.headers)
        if page.link:
            headers["link"] = page.link
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        return tagged_ready(asked.headers, page.body, page.etag, encoded)

    return FastRoute("/posts", re.compile("/posts"), answer)


_FAST_PARAMETERS = {
    "limit": re.compile(r"[1-9]\d?|100", re.ASCII),
    "cursor": re.compile(r"[\w-]+", re.ASCII),
    "sort": re.compile("|".join(FeedSort)),
    "creator": re.compile(r"[\w.@-]+", re.ASCII),
    "comments": re.compile(r"\d|10", re.ASCII),
}


@lru_cache(1024)
def _usual_question(query: bytes) -> FeedParameters | None:
    """The parameters; None if any part of the query is unusual, even an escaped character."""
    pairs = [pair.partition("=") for pair in query.decode("latin-1").split("&") if query]
    given = {name: value for name, _, value in pairs}
    if len(given) != len(pairs) or not given.keys() <= _FAST_PARAMETERS.keys():
        return None
    if not all(_FAST_PARAMETERS[name].fullmatch(value) for name, value in given.items()):
        return None
    return FeedParameters(
        limit=int(given.get("limit", FEED_PAGE_DEFAULT)),
        cursor=given.get("cursor"),
        sort=FeedSort(given.get("sort", FeedSort.TOP)),
        creator=given.get("creator"),
        comments=int(given.get("comments", LATEST_DEFAULT)),
    )
