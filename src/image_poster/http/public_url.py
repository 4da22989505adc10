"""The service's URL for its clients (`--public-url`), perhaps below a path.

Services and stores use paths only, from `/` on. This module turns them into URLs, in headers and in
JSON bodies, and strips the URL's path from requests. A proxy in front may strip that path itself,
or keep it.
"""

from urllib.parse import urlsplit

from litestar.types import HTTPScope

Headers = list[tuple[bytes, bytes]]

# In a request's state: its path was the service's own, without the slash that a page's relative
# URLs need.
BARE = "bare_path"

# What JSON of ours has paths under. In JSON a quote within a text is escaped (RFC 8259 section 7),
# so none of these can be part of one.
_NAMES = (b'"url":"', b'"tus":"')


class PublicUrl:
    """The service's base URL. `url` is absolute and has no slash at its end; if it is empty, paths
    stay relative to the host."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self._base = url.encode()
        self.path = urlsplit(url).path

    def strip(self, scope: HTTPScope) -> None:
        """Remove the service's own path from the request's path, if it is there."""
        path = scope["path"]
        if self.path and path == self.path:
            scope.setdefault("state", {})[BARE] = True
        if self.path and (path == self.path or path.startswith(f"{self.path}/")):
            scope["path"] = path[len(self.path) :] or "/"
            scope["raw_path"] = scope["path"].encode()

    def headers(self, headers: Headers) -> Headers:
        """The headers of a response, with URLs in `Location` and `Link`."""
        if not self._base:
            return headers
        return [(name, self._header(name, value)) for name, value in headers]

    def body(self, body: bytes) -> bytes:
        """The JSON of a response, with URLs."""
        if self._base:
            for name in _NAMES:
                body = body.replace(name + b"/", name + self._base + b"/")
        return body

    def _header(self, name: bytes, value: bytes) -> bytes:
        if name == b"location" and value.startswith(b"/"):
            return self._base + value
        if name == b"link":
            return value.replace(b"</", b"<" + self._base + b"/")
        return value
