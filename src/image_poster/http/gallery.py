"""The gallery, a page for people: the files of `gallery/`, which `make web` builds from `web/`.

All files are in memory, plain and compressed by the build, so serving one takes one look-up. All
URLs in the page are relative, so it works below any path.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from image_poster.domain import errors
from image_poster.http.encoding import BARE, best_coding
from image_poster.http.requests import AnyRequest
from image_poster.http.responses import IMMUTABLE, REVALIDATE, etag_of, matching_etag

FOLDER = Path(__file__).parent / "gallery"
PAGE = "index.html"

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# By the names in Accept-Encoding (RFC 9110 section 12.5.3), the smaller one first.
_ENCODINGS = {"br": ".br", "gzip": ".gz"}
# RFC 3986, section 3.2, without user information: a host's name or address, and a port.
_ORIGIN = re.compile(r"(https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d+)?)(?:[/?#]|$)")
_PROTECTION = {
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


class GalleryFile(NamedTuple):
    """A file of the build: its bytes by content coding (empty for none), each with its ETag."""

    media_type: str
    cache_control: str
    variants: dict[str, tuple[bytes, str]]


def content_security_policy(*connect_to: str) -> str:
    """The Content-Security-Policy: this origin only, and for requests also `connect_to` (origins).
    Previews of images that are not yet uploaded are `blob:`."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            " ".join(["connect-src 'self'", *connect_to]),
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def origins_of(urls: Iterable[str]) -> list[str]:
    """The distinct scheme and host of each URL, in the form of a policy. Invalid URLs are omitted:
    an issuer's document must not add other directives to the policy."""
    return list(dict.fromkeys(match[1] for match in map(_ORIGIN.match, urls) if match))


def load(folder: Path = FOLDER) -> dict[str, GalleryFile]:
    """The files by their paths in the folder; compressed files are variants of the originals."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in _TYPES]
    return {path.relative_to(folder).as_posix(): _file(path) for path in paths}


def _file(path: Path) -> GalleryFile:
    immutable = path.parent.name == "assets"
    variants = {"": _tagged(path.read_bytes())}
    for encoding, suffix in _ENCODINGS.items():
        compressed = path.with_name(path.name + suffix)
        if compressed.exists():
            variants[encoding] = _tagged(compressed.read_bytes())
    return GalleryFile(_TYPES[path.suffix], IMMUTABLE if immutable else REVALIDATE, variants)


def _tagged(content: bytes) -> tuple[bytes, str]:
    return content, etag_of(content)


def routes(folder: Path = FOLDER) -> tuple[HTTPRouteHandler, ...]:
    """The routes of the page at `/`, and of its assets."""
    files = load(folder)

    @get("/", include_in_schema=False)
    async def get_page(request: AnyRequest) -> Response[bytes]:
        """The page, with what it may load and whom it may talk to. Its URLs are relative, so below
        a path that must end with a slash."""
        if BARE in request.scope["state"]:
            return Response(
                b"", status_code=HTTPStatus.PERMANENT_REDIRECT, headers={"location": "/"}
            )
        others = origins_of(await request.app.state.authenticator.sign_in_urls())
        policy = content_security_policy(*others)
        headers = {**_PROTECTION, "content-security-policy": policy}
        return _response(request, files[PAGE], headers)

    @get("/assets/{name:str}", include_in_schema=False)
    async def get_asset(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        """Named by their content."""
        file = files.get(f"assets/{name}")
        if file is None:
            raise errors.RouteNotFoundError
        return _response(request, file, {})

    named = [name for name in files if "/" not in name and name != PAGE]

    @get([f"/{name}" for name in named], include_in_schema=False)
    async def get_file(request: AnyRequest) -> Response[bytes]:
        """The service worker, the manifest, icons: they keep their names."""
        return _response(request, files[request.scope["path"].rpartition("/")[2]], {})

    return get_page, get_asset, get_file


def _response(request: AnyRequest, file: GalleryFile, headers: dict[str, str]) -> Response[bytes]:
    offered = tuple(name for name in _ENCODINGS if name in file.variants)
    encoding = best_coding(request.headers.get("accept-encoding"), offered)
    content, etag = file.variants[encoding]
    sent = {"etag": etag, "cache-control": file.cache_control, **headers}
    if len(file.variants) > 1:
        sent["vary"] = "Accept-Encoding"
    if matching_etag(request.headers.get("if-none-match"), etag) is not None:
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=sent)
    if encoding:
        sent["content-encoding"] = encoding
    return Response(content, media_type=file.media_type, headers=sent)
