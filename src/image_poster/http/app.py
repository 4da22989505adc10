"""Put the HTTP side together."""

import msgspec
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp

from image_poster import __version__
from image_poster.domain.errors import ERRORS
from image_poster.http.auth import Authenticator
from image_poster.http.documents import encoded_document
from image_poster.http.edge import Edge
from image_poster.http.observing import Observer
from image_poster.http.page_cache import PageCache
from image_poster.http.problems import EXCEPTION_HANDLERS
from image_poster.http.put_urls import SignedPutUrls
from image_poster.http.repeats import InFlight
from image_poster.http.requests import JsonRequest
from image_poster.http.routes import comments, docs, images, operations, posts, uploads
from image_poster.usecases.all import UseCases

_LOOPBACK_ORIGIN = r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?"
_EXPOSED = [
    *("ETag", "Link", "Location", "Retry-After", "X-Request-Id", "Content-Range"),
    *("Idempotent-Replayed", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    *("Tus-Checksum-Algorithm", "Upload-Offset", "Upload-Length", "Upload-Defer-Length"),
    *("Upload-Metadata", "Upload-Expires"),
]


class HttpSettings(msgspec.Struct, frozen=True):
    """`cors_origins` empty means loopback origins only; `loopback_only` checks the Host header;
    `observers` are told of each request, and `routes` are an edition's own."""

    authenticator: Authenticator
    put_urls: SignedPutUrls
    cors_origins: tuple[str, ...] = ()
    loopback_only: bool = True
    observers: tuple[Observer, ...] = ()
    routes: tuple[HTTPRouteHandler, ...] = ()


def create_app(use: UseCases, readiness: operations.Readiness, settings: HttpSettings) -> ASGIApp:
    """The ASGI app that serves the contract."""
    return Edge(
        litestar_app(use, readiness, settings),
        loopback_only=settings.loopback_only,
        observers=settings.observers,
    )


def litestar_app(
    use: UseCases, readiness: operations.Readiness, settings: HttpSettings
) -> Litestar:
    """The routes, without what happens around every request."""
    return Litestar(
        route_handlers=[*_handlers(), *settings.routes],
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=JsonRequest,
        cors_config=_cors(settings.cors_origins),
        openapi_config=_openapi(),
        state=State(
            {
                "use_cases": use,
                "feed_pages": PageCache(use.list_feed.version),
                "readiness": readiness,
                "in_flight": InFlight(),
                "put_urls": settings.put_urls,
                "authenticator": settings.authenticator,
            }
        ),
        logging_config=None,
    )


def openapi_document() -> bytes:
    """The OpenAPI document, without anything that serves it."""
    from image_poster.http.routes import metrics  # noqa: PLC0415 - not every edition has Prometheus

    handlers = [*_handlers(), *metrics.ROUTES]
    app = Litestar(route_handlers=handlers, openapi_config=_openapi(), logging_config=None)
    return encoded_document(app)


def _handlers() -> list[HTTPRouteHandler]:
    routes = [posts, uploads, comments, images, operations, docs]
    return [handler for module in routes for handler in module.ROUTES]


def _cors(origins: tuple[str, ...]) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(origins),
        allow_origin_regex=None if origins else _LOOPBACK_ORIGIN,
        expose_headers=_EXPOSED,
    )


def _openapi() -> OpenAPIConfig:
    codes = "\n".join(f"| `{error.code}` | {error.status} | {error.detail} |" for error in ERRORS)
    return OpenAPIConfig(
        title="image-poster-api",
        version=__version__,
        description=(
            "Post pictures over bad networks. Writes need the header `user-id`.\n\n"
            "Every problem has a stable `code`:\n\n| code | status | meaning |\n|---|---|---|\n"
            + codes
        ),
        path="/openapi",
        render_plugins=[],
    )
