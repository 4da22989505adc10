"""The Lambda behind API Gateway: the contract, by Mangum.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from image_poster.editions.aws import cold_start  # isort: split

from typing import Any, cast

import structlog
from litestar.types import ASGIApp
from mangum import Mangum

from image_poster.adapters.dynamodb.schema import post_key
from image_poster.adapters.oidc import OidcTokenVerifier
from image_poster.domain.signing import CursorSigner, Signer
from image_poster.editions import checked_origins, listed
from image_poster.editions.aws import container
from image_poster.editions.aws.settings import Settings, read_settings
from image_poster.editions.logs import configure, emf
from image_poster.http.app import RENDERERS, HttpSettings, create_app
from image_poster.http.auth import Claims, TokenAuthenticator, TokenTerms
from image_poster.http.middleware import Measured
from image_poster.http.requests import AnyRequest
from image_poster.http.uploads import HmacPutUrlSigner
from image_poster.services.container import build_services

# A poll is a paid read here.
_WAIT_POLL_SECONDS = 0.4
_SERVER_FAULT = 500
_log = structlog.get_logger()


def compose(settings: Settings) -> ASGIApp:
    """The app that serves the contract."""
    signer = Signer(settings.signing_key.encode())
    services = build_services(
        container.stores(settings),
        settings.limits,
        CursorSigner(signer),
        RENDERERS,
        poll_seconds=_WAIT_POLL_SECONDS,
    )

    async def readiness() -> None:
        """Raises `BusyError` when the table does not answer."""
        await container.table(settings).get(post_key("readiness"), consistent=False)

    verifier = OidcTokenVerifier(settings.jwt_issuer, listed(settings.jwt_audience))
    terms = TokenTerms(
        admins=frozenset(listed(settings.admins)),
        name_claim=settings.jwt_name_claim,
        issuer=settings.jwt_issuer,
        client_id=settings.jwt_client_id,
        scope=settings.jwt_scope,
    )
    return create_app(
        services,
        readiness,
        HttpSettings(
            authenticator=TokenAuthenticator(verifier, terms, claims_of_gateway),
            # Signed PUTs lead to S3; at this service no URL is good.
            put_urls=HmacPutUrlSigner(signer),
            cors_origins=checked_origins(settings.cors_origins),
            loopback_only=False,
            fast=False,  # what is asked most is answered by the CDN
            observers=(log_request,),
        ),
    )


def claims_of_gateway(request: AnyRequest) -> Claims | None:
    """What the gateway's JWT authorizer found in a token (HTTP API, payload format 2.0); nobody
    else can write the event. None where it lets everyone read."""
    event: dict[str, Any] = request.scope.get("aws.event", {})  # type: ignore[assignment]
    found: Claims | None = (
        event.get("requestContext", {}).get("authorizer", {}).get("jwt", {}).get("claims")
    )
    return found


def log_request(measured: Measured) -> None:
    """A line and three metrics for each request of the API."""
    _log.info(
        "request",
        service="api",
        method=measured.method,
        route=measured.route,
        path=measured.path,
        status=measured.status,
        Latency=round(measured.seconds * 1000, 2),
        Requests=1,
        Faults=int(measured.status >= _SERVER_FAULT),
        _aws=emf(Latency="Milliseconds", Requests="Count", Faults="Count"),
    )


_settings = read_settings()
configure("json", stack=_settings.stack)
_mangum = Mangum(
    cast("Any", compose(_settings)),  # Litestar types its scopes more narrowly
    lifespan="off",
    text_mime_types=["text/", "application/json", "application/problem+json"],
)
cold_start.over()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Answer one request."""
    return _mangum(event, context)
