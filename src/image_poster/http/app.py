"""Put the HTTP side together."""

import msgspec
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from image_poster.http import comments, feed, images, openapi, operations, posts, uploads
from image_poster.http.auth import Authenticator
from image_poster.http.idempotency import InFlight
from image_poster.http.middleware import Middleware, Observer
from image_poster.http.problems import EXCEPTION_HANDLERS
from image_poster.http.requests import JsonRequest
from image_poster.services.container import Renderers, Services

RENDERERS = Renderers(posts.new_post_body, comments.comment_body, posts.reserved_post_body)

_LOOPBACK_ORIGIN = r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?"
_EXPOSED = [
    *("ETag", "Link", "Location", "Retry-After", "X-Request-Id", "Content-Range"),
    *("Idempotent-Replayed", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    *("Tus-Checksum-Algorithm", "Upload-Offset", "Upload-Length", "Upload-Defer-Length"),
    *("Upload-Metadata", "Upload-Expires"),
]
_NOUNS = (posts, feed, comments, images, uploads, operations, openapi)


class HttpSettings(msgspec.Struct, frozen=True):
    """`cors_origins` empty means loopback origins only; `loopback_only` checks the Host header;
    `observers` are told of each request, and `routes` are an edition's own."""

    authenticator: Authenticator
    put_urls: uploads.HmacPutUrlSigner
    cors_origins: tuple[str, ...] = ()
    loopback_only: bool = True
    observers: tuple[Observer, ...] = ()
    routes: tuple[HTTPRouteHandler, ...] = ()


def create_app(
    services: Services, readiness: operations.Readiness, settings: HttpSettings
) -> ASGIApp:
    """The ASGI app that serves the contract."""
    return Middleware(
        litestar_app(services, readiness, settings),
        loopback_only=settings.loopback_only,
        observers=settings.observers,
    )


def litestar_app(
    services: Services, readiness: operations.Readiness, settings: HttpSettings
) -> Litestar:
    """The routes, without what happens around every request."""
    return Litestar(
        route_handlers=[*_handlers(), *settings.routes],
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=JsonRequest,
        cors_config=_cors(settings.cors_origins),
        openapi_config=openapi.openapi_config(settings.authenticator.schemes),
        state=State(
            {
                "services": services,
                "feed_pages": feed.PageCache(services.feed.version),
                "readiness": readiness,
                "in_flight": InFlight(),
                "put_urls": settings.put_urls,
                "authenticator": settings.authenticator,
            }
        ),
        logging_config=None,
    )


def openapi_document() -> bytes:
    """The OpenAPI document, with every way to say who is asking, without anything that serves
    it."""
    from image_poster.http import metrics  # noqa: PLC0415 - not every edition has Prometheus

    app = Litestar(
        route_handlers=[*_handlers(), *metrics.ROUTES],
        openapi_config=openapi.openapi_config(tuple(openapi.SCHEMES)),
        logging_config=None,
    )
    return openapi.encoded_document(app)


def _handlers() -> list[HTTPRouteHandler]:
    return [handler for noun in _NOUNS for handler in noun.ROUTES]


def _cors(origins: tuple[str, ...]) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(origins),
        allow_origin_regex=None if origins else _LOOPBACK_ORIGIN,
        expose_headers=_EXPOSED,
    )
