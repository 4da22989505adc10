"""The settings of the AWS edition, which `infra/template.yaml` puts into the environment of each
Lambda."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from image_poster.adapters.bounded_http import check_url
from image_poster.domain.limits import FAILED_KEPT_DAYS, LATEST_KEPT, PUBLIC_RATES, Limits, Rates
from image_poster.editions import StartError, parse_admin_claim, parse_origins
from image_poster.services.review import ReviewMode

_DEFAULTS = Limits()
_PREFIX = "IMAGE_POSTER_"
# API Gateway hands a body over as Base64, and a Lambda takes 6 MB (Lambda quotas).
MULTIPART_BYTES = 4_000_000
PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class AwsSettings:
    """Each is an environment variable `IMAGE_POSTER_…` of the same name. A Lambda has those that it
    needs; the rest stays empty. `signing_key_secret`, `origin_secret` and `webhook_secret` are ARNs
    of secrets in Secrets Manager. `blocked_words` and `blocked_images` are keys of objects in the
    uploads bucket."""

    stack: str = ""
    table: str = ""
    uploads_bucket: str = ""
    images_bucket: str = ""
    public_url: str = ""
    distribution: str = ""
    signing_key: str = ""
    signing_key_secret: str = ""
    origin_secret: str = ""
    sdk_connect_seconds: int = 2
    sdk_read_seconds: int = 20
    sdk_tries: int = 4
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_name_claim: str = "preferred_username"
    jwt_admin_claim: str = ""
    jwt_client_id: str = ""
    jwt_scope: str = "openid profile"
    admins: str = ""
    cors_origins: str = "*"
    feed_shards: int = 1
    latest_kept: int = LATEST_KEPT
    image_bytes: int = _DEFAULTS.image_bytes
    image_pixels: int = _DEFAULTS.image_pixels
    image_seconds: int = 120
    writes_per_minute: int = PUBLIC_RATES.writes_per_minute or 0
    bytes_per_day: int = PUBLIC_RATES.bytes_per_day or 0
    uploads_under_way: int = PUBLIC_RATES.uploads_under_way or 0
    review: str = "off"
    review_url: str = ""
    webhook_secret: str = ""
    rules_url: str = ""
    contact: str = ""
    blocked_words: str = ""
    blocked_images: str = ""
    failed_days: int = FAILED_KEPT_DAYS
    event_bus: str = ""

    @property
    def limits(self) -> Limits:
        """The limits that `GET /limits` shows."""
        return Limits(
            image_bytes=self.image_bytes,
            image_pixels=self.image_pixels,
            latest_kept=self.latest_kept,
            multipart_bytes=min(MULTIPART_BYTES, self.image_bytes),
            piece_bytes=min(PIECE_BYTES, self.image_bytes),
            rates=self.rates,
            rates_exact=self.rates == Rates(),
            rules_url=self.rules_url or None,
            contact=self.contact or None,
        )

    @property
    def rates(self) -> Rates:
        """Of one user; 0 is any. Of one address the WAF's rule is (`infra/waf.yaml`)."""
        return Rates(
            writes_per_minute=self.writes_per_minute or None,
            bytes_per_day=self.bytes_per_day or None,
            uploads_under_way=self.uploads_under_way or None,
        )


def read_settings(environment: Mapping[str, str] = os.environ) -> AwsSettings:
    """The settings; raises `StartError` for one that cannot be."""
    hints = get_type_hints(AwsSettings)
    values: dict[str, Any] = {}
    for field in fields(AwsSettings):
        text = environment.get(f"{_PREFIX}{field.name.upper()}")
        if text is None:
            continue
        try:
            values[field.name] = hints[field.name](text)
        except ValueError as exc:
            raise StartError(
                f"{_PREFIX}{field.name.upper()} must be a number, not {text!r}."
            ) from exc
    parse_origins(values.get("cors_origins", ""))
    parse_admin_claim(values.get("jwt_admin_claim", ""))
    settings = AwsSettings(**values)
    _check_review(settings)
    return settings


def _check_review(settings: AwsSettings) -> None:
    """Raises `StartError` for settings of the review that cannot be."""
    if settings.review not in set(ReviewMode):
        raise StartError(f"{_PREFIX}REVIEW must be off, all or hook, not {settings.review!r}.")
    if settings.review != ReviewMode.HOOK:
        return
    if not settings.webhook_secret:
        raise StartError(f"{_PREFIX}REVIEW=hook needs {_PREFIX}WEBHOOK_SECRET.")
    try:
        check_url(settings.review_url)
    except ValueError as exc:
        raise StartError(
            f"{_PREFIX}REVIEW=hook needs {_PREFIX}REVIEW_URL: https, or http on the loopback "
            f"interface, not {settings.review_url!r}."
        ) from exc
