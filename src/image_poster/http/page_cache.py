"""Ready answers, remembered until the store changes.

Most readers ask for the same first page. Between two writes it is answered from memory; the write's
own answer goes out only after its commit, so nobody ever reads a page from before their own write.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

_MOST_PAGES = 256
_MOST_BYTES_A_PAGE = 64 * 1024


class ReadyPage(NamedTuple):
    """An encoded page with its ETag (quotes included) and its Link header, if there is a next."""

    body: bytes
    etag: str
    link: str | None


class PageCache:
    """At most 16 MiB of pages, all of one version of the store."""

    def __init__(self, version: Callable[[], int | None]) -> None:
        self._current_version = version
        self._version: int | None = None
        self._pages: dict[Hashable, ReadyPage] = {}

    def find(self, question: Hashable) -> ReadyPage | None:
        """The page, if nothing was written since it was kept. To be asked before the store is, so
        that what is kept afterwards is at least as new as the version it is kept under."""
        version = self._current_version()
        if version != self._version:
            self._pages.clear()
            self._version = version
        return self._pages.get(question)

    def keep(self, question: Hashable, page: ReadyPage) -> None:
        """Remember a page, unless it is large, or the store's version cannot be told."""
        if self._version is None or len(page.body) > _MOST_BYTES_A_PAGE:
            return
        if len(self._pages) >= _MOST_PAGES:
            self._pages.clear()
        self._pages[question] = page
