"""The Lambda behind API Gateway: the contract, by Mangum.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from image_poster.editions.aws import cold_start  # isort: split

from typing import Any, cast

from litestar.types import ASGIApp
from mangum import Mangum

from image_poster.adapters.dynamodb.schema import post_key
from image_poster.adapters.oidc import OidcTokenVerifier
from image_poster.domain.pages import CursorSigner
from image_poster.domain.signing import Signer
from image_poster.editions.aws import parts
from image_poster.editions.aws.identity import TokenAuthenticator
from image_poster.editions.aws.observing import log_request
from image_poster.editions.aws.settings import Settings, read_settings
from image_poster.editions.logs import configure
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.put_urls import SignedPutUrls
from image_poster.usecases.all import use_cases

# A poll is a paid read here.
_WAIT_POLL_SECONDS = 0.4


def compose(settings: Settings) -> ASGIApp:
    """The app that serves the contract."""
    signer = Signer(settings.signing_key.encode())
    use = use_cases(
        parts.stores(settings),
        settings.limits,
        CursorSigner(signer),
        wait_poll_seconds=_WAIT_POLL_SECONDS,
    )

    async def readiness() -> None:
        """Raises `BusyError` when the table does not answer."""
        await parts.table(settings).get(post_key("readiness"), consistent=False)

    verifier = OidcTokenVerifier(settings.jwt_issuer, _listed(settings.jwt_audience))
    return create_app(
        use,
        readiness,
        HttpSettings(
            authenticator=TokenAuthenticator(verifier, frozenset(_listed(settings.admins))),
            # Signed PUTs lead to S3; at this service no URL is good.
            put_urls=SignedPutUrls(signer),
            cors_origins=_listed(settings.cors_origins),
            loopback_only=False,
            observers=(log_request,),
        ),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


configure("json")
_mangum = Mangum(
    cast("Any", compose(read_settings())),  # Litestar types its scopes more narrowly
    lifespan="off",
    text_mime_types=["text/", "application/json", "application/problem+json"],
)
cold_start.over()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Answer one request."""
    return _mangum(event, context)
