"""Create the ASGI app from the routes, the middleware and the fast path."""

from collections import defaultdict
from http import HTTPStatus

import msgspec
from litestar import Litestar, Response, route
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from image_poster.http import (
    accounts,
    comments,
    feed,
    images,
    moderation,
    openapi,
    operations,
    post_bodies,
    posts,
    uploads,
)
from image_poster.http.addresses import AddressLimiter, TrustedProxies
from image_poster.http.auth import Authenticator
from image_poster.http.encoding import Cors, PublicUrl
from image_poster.http.feed_pages import FeedPages
from image_poster.http.middleware import Middleware, Observer
from image_poster.http.problems import EXCEPTION_HANDLERS, allow
from image_poster.http.requests import JsonRequest
from image_poster.http.responses import FastRoute
from image_poster.services import Renderers, Services

RENDERERS = Renderers(
    post_bodies.post_body, comments.comment_body, post_bodies.own_post_body, moderation.RENDERERS
)

_NOUNS = (posts, feed, comments, images, uploads, moderation, accounts, operations)


class HttpSettings(msgspec.Struct, frozen=True):
    """Settings of the HTTP app.

    `public_url` and `cors_origins` have the forms of `PublicUrl` and `Cors`. `loopback_only` checks
    the Host header. `observers` get each request. `routes` are an edition's own. `addresses` counts
    requests by address. `fast` puts the fast path before Litestar. `shared_feed`: a CDN is in
    front. `file_senders` are proxies that send renditions by the header `X-Accel-Redirect`.
    `image_grants` signs URLs of images for the review hook."""

    authenticator: Authenticator
    put_urls: uploads.HmacPutUrlSigner
    cors_origins: tuple[str, ...] = ()
    loopback_only: bool = True
    observers: tuple[Observer, ...] = ()
    routes: tuple[HTTPRouteHandler, ...] = ()
    addresses: AddressLimiter | None = None
    fast: bool = True
    public_url: str = ""
    shared_feed: bool = False
    file_senders: TrustedProxies = TrustedProxies()
    image_grants: images.ImageGrants | None = None


def create_app(
    services: Services, readiness: operations.Readiness, settings: HttpSettings
) -> Middleware:
    """The ASGI app that serves the contract."""
    app = litestar_app(services, readiness, settings)
    return Middleware(
        app,
        loopback_only=settings.loopback_only,
        observers=settings.observers,
        cors=Cors(settings.cors_origins),
        addresses=settings.addresses,
        public_url=PublicUrl(settings.public_url),
        fast_routes=fast_routes(services, app.state.feed_pages, settings) if settings.fast else (),
    )


def fast_routes(
    services: Services, pages: FeedPages, settings: HttpSettings
) -> tuple[FastRoute, ...]:
    """The fast path: the most frequent GETs, the two feeds and renditions."""
    longest = services.limits.latest_kept
    return (
        feed.fast_route(pages, longest),
        images.fast_route(services.images, settings.file_senders),
        feed.own_fast_route(pages, longest, settings.authenticator),
    )


def litestar_app(
    services: Services, readiness: operations.Readiness, settings: HttpSettings
) -> Litestar:
    """The Litestar app with the routes, without the middleware."""
    return _App(
        route_handlers=_with_options([*_handlers(), *settings.routes]),
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=JsonRequest,
        openapi_config=openapi.openapi_config(settings.authenticator.schemes),
        state=State(
            {
                "services": services,
                "feed_pages": FeedPages(services.feed, shared=settings.shared_feed),
                "readiness": readiness,
                "in_flight": set[tuple[str, str]](),
                "put_urls": settings.put_urls,
                "authenticator": settings.authenticator,
                "addresses": settings.addresses,
                "public_url": PublicUrl(settings.public_url),
                "file_senders": settings.file_senders,
                "image_grants": settings.image_grants,
            }
        ),
        logging_config=None,
    )


class _App(Litestar):
    """Litestar without its search for OpenTelemetry. At each start that would import modules of it,
    where the extra `otel` is installed but no trace is sent."""

    @staticmethod
    def _patch_opentelemetry_middleware(config: AppConfig) -> AppConfig:
        return config


def openapi_document() -> bytes:
    """The OpenAPI document with every authentication scheme, made without serving anything."""
    from image_poster.http import metrics  # noqa: PLC0415 - not every edition has Prometheus

    app = Litestar(
        route_handlers=[*_handlers(), *metrics.ROUTES],
        openapi_config=openapi.openapi_config(tuple(openapi.SCHEMES)),
        logging_config=None,
    )
    return openapi.encoded_document(app)


def _handlers() -> list[HTTPRouteHandler]:
    return [handler for noun in _NOUNS for handler in noun.ROUTES]


def _with_options(handlers: list[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The handlers, and an OPTIONS handler for each path without one (RFC 9110 section 9.3.7).
    Litestar would generate it from the first handler of a path, and list only that handler's
    methods."""
    methods: dict[str, set[str]] = defaultdict(set)
    for handler in handlers:
        for path in handler.paths:
            methods[path].update(handler.http_methods)
    # First: with a path's first handler Litestar makes its own, and then accepts no other.
    missing = {path: names for path, names in methods.items() if "OPTIONS" not in names}
    return [*(_options(path, allow(names)) for path, names in missing.items()), *handlers]


def _options(path: str, allowed: str) -> HTTPRouteHandler:
    @route(path, http_method=["OPTIONS"], include_in_schema=False)
    async def list_methods() -> Response[bytes]:
        return Response(b"", status_code=HTTPStatus.NO_CONTENT, headers={"allow": allowed})

    return list_methods
