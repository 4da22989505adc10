"""A cache of the feed's encoded pages, which is cleared when the store changes.

Most readers request the same first page. Between two writes the cache answers it. A write's
response is sent only after its commit, so every user reads their own writes.
"""

import re
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlencode

from litestar import Response

from image_poster.domain.comments import decode_comment, latest_without
from image_poster.domain.feed import Excluded, FeedSort
from image_poster.domain.limits import FEED_PAGE_DEFAULT, LATEST_DEFAULT
from image_poster.domain.posts import StoredPost
from image_poster.domain.signing import Page
from image_poster.http import post_bodies, responses
from image_poster.services.feed import FeedService

_MAX_PAGES = 256
_MAX_PAGE_BYTES = 64 * 1024
_MAX_CACHE_BYTES = 32 * 1024 * 1024
_MAX_BLOCKS = 20_000
_SHARED = "public, max-age=1, stale-while-revalidate=5"


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


class EncodedPage(NamedTuple):
    """An encoded page, and the page itself. `etag` is weak; `next_query` is the query of the next
    page, None on the last one; `bodies` are those of the posts."""

    body: bytes
    etag: str
    next_query: str | None
    bodies: list[bytes]
    page: Page[StoredPost, str]

    @property
    def size(self) -> int:
        """The bytes of the documents in memory."""
        stored = sum(len(post.head) + len(post.latest) for post in self.page.items)
        return 2 * len(self.body) + stored


class PagePost(NamedTuple):
    """A post of a page with its body, its creator, and the creators of the comments in its body."""

    stored: StoredPost
    body: bytes
    creator: str
    commenters: frozenset[str]


class PageContent(NamedTuple):
    """The posts of a page, their ids, and all creators."""

    posts: list[PagePost]
    ids: frozenset[str]
    creators: frozenset[str]

    def is_changed_by(self, excluded: Excluded) -> bool:
        """True if the page has an excluded post, or content of an excluded user."""
        return bool(excluded.posts) or not excluded.users.isdisjoint(self.creators)

    def remaining(self, excluded: Excluded, comments: int) -> Iterator[bytes]:
        """The bodies of the posts that are shown, with at most `comments`. Only a post with a
        comment that is omitted is encoded anew."""
        for stored, body, creator, commenters in self.posts:
            if excluded.omits(stored.id, creator):
                continue
            if excluded.users.isdisjoint(commenters):
                yield body
            else:
                latest = latest_without(stored.latest, excluded.users, comments)
                yield post_bodies.post_body(stored._replace(latest=latest), comments)


class FeedPages:
    """The encoded pages of the feed, with a cache of at most 32 MiB. All cached pages, and the
    cached blocks of callers, are of one version of the store.

    `shared`: a CDN in front may cache pages for a second, and serve them for 5 more while
    it revalidates (RFC 9111, RFC 5861). Then the CDN carries the reads, and the store does not.
    """

    def __init__(self, feed: FeedService, *, shared: bool = False) -> None:
        self._feed = feed
        self._shared = shared
        self._version: Hashable | None = None
        self._pages: dict[FeedParameters, EncodedPage] = {}
        self._contents: dict[FeedParameters, PageContent] = {}
        self._size = 0
        self._blocks: dict[str, frozenset[str]] = {}
        self._number_of_blocks = 0

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
        """The page with these parameters, without content of users whom `viewer` blocks, and
        without posts that `viewer` reported. If the page has none of these, its own bytes are
        sent."""
        encoded = await self._page(parameters)
        content = self._content(parameters, encoded)
        body, blocked = encoded.body, await self._blocked_by(viewer)
        excluded = await self._feed.excluded(viewer, blocked, content.ids)
        if content.is_changed_by(excluded):
            bodies = list(content.remaining(excluded, parameters.comments))
            body = responses.page_body("posts", bodies, encoded.page.next)
        headers = {"cache-control": responses.NO_STORE}
        headers |= next_link("/me/feed", encoded.next_query)
        return responses.json_response(body, headers=headers)

    def _content(self, parameters: FeedParameters, encoded: EncodedPage) -> PageContent:
        """The content of an encoded page, cached as long as the page is."""
        content = self._contents.get(parameters)
        if content is None:
            content = page_content(encoded, parameters.comments)
            if self._pages.get(parameters) is encoded:
                self._contents[parameters] = content
        return content

    async def _blocked_by(self, viewer: str) -> frozenset[str]:
        version, blocked = self._version, self._blocks.get(viewer)
        if blocked is None:
            blocked = await self._feed.blocked_by(viewer)
            if version is not None and version == self._version:
                self._store_blocks(viewer, blocked)
        return blocked

    def _store_blocks(self, viewer: str, blocked: frozenset[str]) -> None:
        number = len(blocked) + 1
        if self._number_of_blocks + number > _MAX_BLOCKS:
            self._clear_blocks()
        self._blocks[viewer] = blocked
        self._number_of_blocks += number

    async def _page(self, parameters: FeedParameters) -> EncodedPage:
        # Asked before the read, so a cached page is at least as new as its version.
        version = self._feed.version()
        if version != self._version:
            self._clear()
            self._clear_blocks()
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
            self._store(parameters, encoded)
        return encoded

    def _store(self, parameters: FeedParameters, encoded: EncodedPage) -> None:
        size = encoded.size
        if len(self._pages) >= _MAX_PAGES or self._size + size > _MAX_CACHE_BYTES:
            self._clear()
        self._pages[parameters] = encoded
        self._size += size

    def _clear(self) -> None:
        self._pages.clear()
        self._contents.clear()
        self._size = 0

    def _clear_blocks(self) -> None:
        self._blocks.clear()
        self._number_of_blocks = 0


def page_content(encoded: EncodedPage, comments: int) -> PageContent:
    """The content of a page that shows at most `comments` of each post."""
    items = [
        PagePost(stored, body, stored.post.creator, _commenters(stored, comments))
        for stored, body in zip(encoded.page.items, encoded.bodies, strict=True)
    ]
    creators = {item.creator for item in items}.union(*(item.commenters for item in items))
    return PageContent(items, frozenset(item.stored.id for item in items), frozenset(creators))


def _commenters(stored: StoredPost, comments: int) -> frozenset[str]:
    documents = stored.latest_comments(comments)
    return frozenset(decode_comment(document).creator for document in documents)


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
    return EncodedPage(body, f"W/{responses.etag_of(tagged)}", query, bodies, page)


_FAST_PARAMETERS = {
    "limit": re.compile(r"[1-9]\d?|100", re.ASCII),
    "cursor": re.compile(r"[\w-]+", re.ASCII),
    "sort": re.compile("|".join(FeedSort)),
    "creator": re.compile(r"[\w.@-]+", re.ASCII),
    "comments": re.compile(r"\d|10", re.ASCII),
}


@lru_cache(1024)
def fast_parameters(query: bytes) -> FeedParameters | None:
    """The parameters in a query; None if any part of it is unusual, even an escaped character."""
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
