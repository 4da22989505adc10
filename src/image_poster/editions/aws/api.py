"""The Lambda behind API Gateway: the contract, by Mangum.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from image_poster.editions.aws import cold_start  # isort: split

import os
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import structlog
from litestar.types import ASGIApp
from mangum import Mangum

from image_poster.adapters.dynamodb.boto import DynamoWriteProbe
from image_poster.adapters.oidc import OidcTokenVerifier, check_header
from image_poster.domain.errors import DirectAccessError
from image_poster.domain.signing import CursorSigner, Signer
from image_poster.editions import parse_admin_claim, parse_list, parse_origins
from image_poster.editions.aws import container
from image_poster.editions.aws.origin import OriginSecrets
from image_poster.editions.aws.settings import AwsSettings, read_settings
from image_poster.editions.logs import configure, emf
from image_poster.http.app import RENDERERS, HttpSettings, create_app
from image_poster.http.auth import Claims, TokenAuthenticator, TokenTerms
from image_poster.http.middleware import MeasuredRequest
from image_poster.http.problems import MEDIA_TYPE, problem_body, problem_headers
from image_poster.http.requests import AnyRequest
from image_poster.http.uploads import HmacPutUrlSigner
from image_poster.services import build_services

# A poll is a paid read here.
_WAIT_POLL_SECONDS = 0.4
_SERVER_FAULT = 500
_log = structlog.get_logger()
# Values of the current request for its log line, which the app does not see.
_caller: ContextVar[dict[str, str | None]] = ContextVar("caller")
# Whether the current request asks for its response to wait.
_waits: ContextVar[bool] = ContextVar("waits", default=False)


def compose(settings: AwsSettings) -> ASGIApp:
    """The app that serves the contract."""
    key = settings.signing_key or container.secret(settings.signing_key_secret)
    signer, aws = Signer(key.encode()), container.AwsContainer(settings)
    services = build_services(
        aws.stores,
        settings.limits,
        CursorSigner(signer),
        RENDERERS,
        poll_seconds=_WAIT_POLL_SECONDS,
    )

    verifier = OidcTokenVerifier(settings.jwt_issuer, parse_list(settings.jwt_audience))
    terms = TokenTerms(
        admins=frozenset(parse_list(settings.admins)),
        admin_claim=parse_admin_claim(settings.jwt_admin_claim),
        name_claim=settings.jwt_name_claim,
        issuer=settings.jwt_issuer,
        client_id=settings.jwt_client_id,
        scope=settings.jwt_scope,
    )
    return create_app(
        services,
        DynamoWriteProbe(aws.table).check,
        HttpSettings(
            authenticator=TokenAuthenticator(verifier, terms, claims_of_gateway),
            # Signed PUTs lead to S3; at this service no URL is good.
            put_urls=HmacPutUrlSigner(signer),
            cors_origins=parse_origins(settings.cors_origins),
            loopback_only=False,
            shared_feed=True,
            fast=False,  # the CDN answers the most frequent requests
            observers=(log_request,),
        ),
    )


def claims_of_gateway(request: AnyRequest) -> Claims | None:
    """The claims that the gateway's JWT authorizer verified (HTTP API, payload format 2.0); no
    client can write the event. None if the route allows anonymous readers. The authorizer does not
    check the token's type. Raises `IdentityRequiredError`."""
    event: dict[str, Any] = request.scope.get("aws.event", {})  # type: ignore[assignment]
    claims = _claims(event.get("requestContext", {}))
    authorization = request.headers.get("authorization", "")
    if claims is not None and authorization:
        check_header(authorization.split()[-1])
    return claims


def log_request(measured: MeasuredRequest) -> None:
    """Log a line with three metrics for each request of the API."""
    _log.info(
        "request",
        service="api",
        **_caller.get({}),
        method=measured.method,
        route=measured.route,
        path=measured.path,
        status=measured.status,
        Latency=round(measured.seconds * 1000, 2),
        Requests=1,
        Faults=int(measured.status >= _SERVER_FAULT),
        _aws=_metrics(),
    )


def _metrics() -> dict[str, Any]:
    """A request's metrics. A request that waited for an image has no latency. Requests and faults
    are also counted by the function's version, for the alarms of a deployment."""
    latency = {} if _waits.get() else {"Latency": "Milliseconds"}
    metrics = emf(**latency, Requests="Count", Faults="Count")
    by_version = emf("version", Requests="Count", Faults="Count")
    metrics["CloudWatchMetrics"] += by_version["CloudWatchMetrics"]
    return metrics


_settings = read_settings()
configure(
    "json", stack=_settings.stack, version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
)
_origin_secrets = OriginSecrets(partial(container.secret_values, _settings.origin_secret))
_mangum = Mangum(
    cast("Any", compose(_settings)),  # Litestar types its scopes more narrowly
    lifespan="off",
    text_mime_types=["text/", "application/json", "application/problem+json"],
)
cold_start.over()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Answer one request that came through CloudFront."""
    headers, about = event["headers"], event["requestContext"]
    if not _origin_secrets.accepts(headers.get("x-origin-secret", "")):
        return _closed(about["requestId"])
    _caller.set(
        {"gateway_id": about["requestId"], "address": _viewer(headers), "user": _user(about)}
    )
    _waits.set("wait=" in event.get("rawQueryString", ""))
    headers.setdefault("x-request-id", about["requestId"])
    return _mangum(event, context)


def _closed(request_id: str) -> dict[str, Any]:
    """The response to callers that bypass CloudFront and use the gateway's own address. Requests
    that the gateway's authorizer refuses do not reach this Lambda."""
    error = DirectAccessError()
    return {
        "statusCode": error.status,
        "headers": {
            **problem_headers(error),
            "content-type": MEDIA_TYPE,
            "x-request-id": request_id,
        },
        "body": problem_body(error, request_id).decode(),
    }


def _viewer(headers: dict[str, str]) -> str:
    """The viewer's address as CloudFront saw it. CloudFront appends it to the viewer's own header,
    and the gateway appends CloudFront's (CloudFront developer guide, "Custom origins",
    X-Forwarded-For)."""
    hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",")]
    return hops[-2] if len(hops) > 1 else hops[-1]


def _user(about: dict[str, Any]) -> str | None:
    """The user that the gateway's authorizer identified; None if there is none."""
    return (_claims(about) or {}).get("sub")


def _claims(about: dict[str, Any]) -> Claims | None:
    claims: Claims | None = about.get("authorizer", {}).get("jwt", {}).get("claims")
    return claims
