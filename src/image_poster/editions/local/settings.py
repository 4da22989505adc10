"""Every setting of the local edition. Each is a flag of `image-poster serve` and an environment
variable `IMAGE_POSTER_…` of the same name."""

import ipaddress
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from image_poster.adapters.bounded_http import check_url, is_loopback_url
from image_poster.adapters.images.memory import default_budget_bytes
from image_poster.domain.images import ImageFit
from image_poster.domain.limits import FAILED_KEPT_DAYS, PUBLIC_RATES, Limits, Rates
from image_poster.editions import MAX_PORT, StartError, parse_admin_claim, parse_list, parse_origins

Auth = Literal["dev", "jwt"]
LogFormat = Literal["auto", "json", "console"]
Review = Literal["off", "all", "hook"]

_DEFAULTS = Limits()
_MIN_IMAGE_MEMORY = 256_000_000
_RATES = Rates.__struct_fields__
# Prefixes of IPv4 and IPv6: few proxies have so many public addresses (the networks of a CDN).
_WIDE_PREFIXES = {4: 16, 6: 32}
_PUBLIC_URL = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d+)?(/(?P<first>[\w.~-]+)(/[\w.~-]+)*)?",
    re.IGNORECASE,
)
# RFC 3986 allows no spaces, quotes, angle brackets or control characters.
_RULES_URL = re.compile(
    r"https?://[^\s\x00-\x1f\x7f\"<>/?#]+([/?#][^\s\x00-\x1f\x7f\"<>]*)?"
    r"|mailto:[^\s\x00-\x1f\x7f\"<>@]+@[^\s\x00-\x1f\x7f\"<>@]+",
    re.IGNORECASE,
)
_OTLP_ENDPOINT = re.compile(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", re.IGNORECASE)
_MAX_CONTACT = 500
# First segments of the service's own paths. Below such a path, the service could not detect whether
# a proxy has removed the public path.
ROUTE_ROOTS = {
    *("posts", "comments", "images", "uploads", "me", "limits", "healthz", "readyz", "metrics"),
    *("openapi.json", "docs", "assets", "reports", "moderation"),
}


def _setting(default: Any, help_text: str, minimum: int | None = None) -> Any:  # noqa: ANN401 - as dataclasses.field
    return field(default=default, metadata={"help": help_text, "minimum": minimum})


@dataclass(frozen=True)
class Settings:
    """The defaults are those of the contract. Lists are written with commas."""

    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8080, "Port to listen on; 0 picks a free one.")
    public_url: str = _setting(
        "", "URL of the service for its clients, with the path behind the proxy, if any."
    )
    data_dir: Path = _setting(Path("data"), "Folder of the database and the images.")
    workers: int = _setting(1, "Number of server processes.", 1)
    image_workers: int = _setting(2, "Images that each process works on at a time.", 1)
    auth: Auth = _setting("dev", "Identity: dev trusts the header user-id, jwt checks tokens.")
    insecure_dev_auth: bool = _setting(False, "Allow auth=dev on addresses that others can reach.")
    jwt_issuer: str = _setting("", "Issuer (OpenID Connect) whose tokens are accepted too.")
    jwt_audience: str = _setting("", "Audiences that the issuer's tokens must name.")
    jwt_name_claim: str = _setting("preferred_username", "Claim with a user's display name.")
    jwt_admin_claim: str = _setting(
        "", "Claim of the issuer's tokens and its value that make an admin, such as groups=admins."
    )
    jwt_client_id: str = _setting("", "Client id of the gallery at the issuer, for sign-in.")
    jwt_scope: str = _setting("openid profile", "Scope that the gallery requests at sign-in.")
    admins: str = _setting("", "Users who may edit and delete everyone's posts.")
    cors_origins: str = _setting(
        "", "Origins whose pages may call the API. Default: loopback (dev) or any (jwt)."
    )
    trusted_proxies: str = _setting(
        "", "Addresses or networks of proxies whose X-Forwarded-… headers are trusted."
    )
    writes_per_minute: int | None = _setting(
        None, "Limit of a user's writes in a minute; 0: no limit. Default with jwt: 120.", 0
    )
    bytes_per_day: int | None = _setting(
        None,
        "Limit of a user's bytes in a day; 0: no limit. Default with jwt: 5000000000.",
        0,
    )
    uploads_under_way: int | None = _setting(
        None, "Limit of a user's uploads in progress; 0: no limit. Default with jwt: 50.", 0
    )
    requests_per_minute: int | None = _setting(
        None, "Limit of an address's requests in a minute; 0: no limit. Default with jwt: 1200.", 0
    )
    image_bytes: int = _setting(_DEFAULTS.image_bytes, "Limit of an image's bytes.", 1)
    disk_reserve: int = _setting(
        64_000_000,
        "Disk bytes to leave free. Below this, texts are refused; below twice this, images.",
        1,
    )
    renditions_group: str = _setting(
        "", "Group that may read renditions/, for a proxy that sends them. Default: no group."
    )
    accel_redirect: bool = _setting(
        False, "Have trusted proxies send renditions themselves (X-Accel-Redirect)."
    )
    image_pixels: int = _setting(_DEFAULTS.image_pixels, "Limit of an image's pixels.", 1)
    image_fit: ImageFit = _setting("cover", "Way to fit an image into its square rendition.")
    image_memory: int = _setting(
        0, "Memory bytes for all decoders; 0 is a third of the machine's, at most 2 GB."
    )
    image_seconds: int = _setting(60, "Seconds that processing one image may take.", 1)
    caption_characters: int = _setting(
        _DEFAULTS.caption_characters, "Limit of a caption's characters.", 1
    )
    alt_characters: int = _setting(
        _DEFAULTS.alt_characters, "Limit of an alt text's characters.", 1
    )
    comment_characters: int = _setting(
        _DEFAULTS.comment_characters, "Limit of a comment's characters.", 1
    )
    failed_days: int = _setting(
        FAILED_KEPT_DAYS, "Days after which a failed post is deleted, with its image.", 1
    )
    review: Review = _setting(
        "off", "all: an admin publishes each image; hook: a program decides; off: no review."
    )
    review_url: str = _setting(
        "", "URL of the review hook: https, or http on the loopback interface."
    )
    webhook: tuple[str, ...] = _setting(
        (), "URL that receives webhooks: https, or http on the loopback interface. Repeatable."
    )
    blocked_words: str = _setting(
        "", "File of blocked words and phrases: texts with one are refused."
    )
    blocked_images: str = _setting("", "File of perceptual hashes (PDQ) of blocked images.")
    rules_url: str = _setting("", "URL of the rules for users: http, https or mailto.")
    contact: str = _setting("", "Address for users' questions and complaints.")
    access_log: bool = _setting(False, "Log each request.")
    otlp_endpoint: str = _setting(
        "", "URL of a collector of traces (OpenTelemetry, OTLP over HTTP). Needs the extra otel."
    )
    trace_ratio: float = _setting(
        1.0, "Part of the requests that are traced, from 0 to 1, where no client decides."
    )
    log_format: LogFormat = _setting("auto", "auto: console on a terminal, else json.")

    def __post_init__(self) -> None:
        """Raises `StartError`."""
        if not 0 <= self.port <= MAX_PORT:
            raise StartError(f"port must be 0 to {MAX_PORT}, not {self.port}.")
        self._check_minimums()
        parse_origins(self.cors_origins)
        _networks(self.trusted_proxies)
        if self.accel_redirect and not (self.trusted_proxies and self.renditions_group):
            raise StartError(
                "accel_redirect needs trusted_proxies, the proxies that may send files, and "
                "renditions_group, by which they can read the files."
            )
        _check_public_url(self.public_url)
        _check_rules_url(self.rules_url)
        _check_contact(self.contact)
        _check_choice("auth", self.auth, Auth)
        _check_choice("image_fit", self.image_fit, ImageFit)
        _check_choice("review", self.review, Review)
        _check_choice("log_format", self.log_format, LogFormat)
        self._check_review()
        _check_otlp_endpoint(self.otlp_endpoint)
        if not 0 <= self.trace_ratio <= 1:
            raise StartError(f"trace_ratio must be from 0 to 1, not {self.trace_ratio:g}.")
        for url in self.webhook:
            self._check_receiver("webhook", url)
        self._check_issuer()
        if self.auth == "dev" and not (self.insecure_dev_auth or is_loopback(self.host)):
            raise StartError(
                f"auth=dev trusts any user-id, so the server does not listen on {self.host}. "
                "Use a loopback address such as 127.0.0.1, or --auth jwt; "
                "on a closed network, pass --insecure-dev-auth."
            )

    def _check_minimums(self) -> None:
        """Raises `StartError`."""
        for setting in fields(self):
            minimum, value = setting.metadata["minimum"], getattr(self, setting.name)
            if minimum is not None and value is not None and value < minimum:
                raise StartError(f"{setting.name} must be at least {minimum}, not {value}.")
        if self.image_memory and self.image_memory < _MIN_IMAGE_MEMORY:
            raise StartError(
                f"image_memory must be 0 or at least {_MIN_IMAGE_MEMORY:,} bytes, not "
                f"{self.image_memory:,}: a usual photograph needs that much."
            )

    def _check_review(self) -> None:
        """Raises `StartError`."""
        if bool(self.review_url) != (self.review == "hook"):
            raise StartError("review=hook and review_url need each other: set both, or neither.")
        if self.review_url:
            self._check_receiver("review_url", self.review_url)

    def _check_receiver(self, name: str, url: str) -> None:
        """Check the URL of a program that receives webhooks. Raises `StartError`."""
        try:
            check_url(url)
        except ValueError as exc:
            raise StartError(
                f"{name} must be https, or http on the loopback interface, without a user or "
                f"password, not {url!r}."
            ) from exc
        if not self.public_url and not is_loopback_url(url):
            raise StartError(
                f"{name} needs public_url, by which the receiver reads images: set public_url."
            )

    def _check_issuer(self) -> None:
        """Raises `StartError`."""
        if bool(self.jwt_issuer) != bool(self.jwt_audience):
            raise StartError("jwt_issuer and jwt_audience need each other: set both, or neither.")
        if self.jwt_client_id and not self.jwt_issuer:
            raise StartError("jwt_client_id needs jwt_issuer: set jwt_issuer too.")
        if parse_admin_claim(self.jwt_admin_claim) and not self.jwt_issuer:
            raise StartError("jwt_admin_claim needs jwt_issuer: set jwt_issuer too.")
        if self.jwt_issuer and self.auth != "jwt":
            raise StartError("jwt_issuer needs auth=jwt: pass --auth jwt, or unset jwt_issuer.")
        if self.jwt_issuer and not is_issuer(self.jwt_issuer):
            raise StartError(f"jwt_issuer must be an https URL, not {self.jwt_issuer!r}.")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on settings that are allowed, and dangerous."""
        warnings = []
        if self.auth == "dev" and self.insecure_dev_auth:
            warnings.append("auth=dev trusts any user-id, and others can reach this address")
        if self.auth == "jwt" and not is_loopback(self.host) and not self.trusted_proxies:
            warnings.append(
                f"bearer tokens travel to {self.host} in clear text: anybody on the network can "
                "read and use them. Listen on 127.0.0.1 behind a proxy with TLS "
                "(docs/in-public.md), and name the proxy with --trusted-proxies"
            )
        warnings += (
            f"trusted_proxies: {network} is a public network of {network.num_addresses:,} "
            "addresses, and the service trusts all of them. List only your proxies"
            for network in _networks(self.trusted_proxies)
            if network.is_global and network.prefixlen < _WIDE_PREFIXES[network.version]
        )
        return tuple(warnings)

    @property
    def limits(self) -> Limits:
        """The limits that clients are told."""
        return Limits(
            image_bytes=self.image_bytes,
            image_pixels=self.image_pixels,
            image_memory=self.image_memory or default_budget_bytes(),
            caption_characters=self.caption_characters,
            alt_characters=self.alt_characters,
            comment_characters=self.comment_characters,
            rates=Rates(**{name: self._rate(name) for name in _RATES}),
            rules_url=self.rules_url or None,
            contact=self.contact or None,
        )

    def _rate(self, name: str) -> int | None:
        """The rate as set, else the default for `auth`. None is no limit."""
        rate: int | None = getattr(self, name)
        if rate is None and self.auth == "jwt":
            rate = getattr(PUBLIC_RATES, name)
        return rate or None


def _check_public_url(url: str) -> None:
    """Raises `StartError`."""
    match = _PUBLIC_URL.fullmatch(url)
    if url and match is None:
        raise StartError(
            "public_url must be an http or https URL without a slash at its end, a query or a "
            f"fragment, such as https://photos.example.org/api, not {url!r}."
        )
    if match and match["first"] in ROUTE_ROOTS:
        raise StartError(
            f"public_url: the service has a /{match['first']} of its own; choose another path."
        )


def _check_otlp_endpoint(url: str) -> None:
    """Raises `StartError`."""
    if url and not _OTLP_ENDPOINT.fullmatch(url):
        raise StartError(
            "otlp_endpoint must be an http or https URL such as http://127.0.0.1:4318, not "
            f"{url!r}."
        )


def _check_rules_url(url: str) -> None:
    """Raises `StartError`."""
    if url and not _RULES_URL.fullmatch(url):
        raise StartError(
            "rules_url must be a URL such as https://photos.example.org/rules or "
            f"mailto:rules@example.org, not {url!r}."
        )


def _check_contact(contact: str) -> None:
    """Raises `StartError`."""
    if len(contact) > _MAX_CONTACT or not contact.isprintable():
        raise StartError(
            f"contact must be one line of at most {_MAX_CONTACT} characters, such as "
            f"moderation@example.org, not {contact[:50]!r}."
        )


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
    return (mapped or address).is_loopback


def _networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The addresses and networks in a comma-separated setting. Raises `StartError`."""
    networks = []
    for entry in parse_list(text):
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError as exc:
            raise StartError(
                f"trusted_proxies: {entry} is no address such as 127.0.0.1, and no network such as "
                f"10.0.0.0/8 ({exc})."
            ) from exc
    return networks


def is_issuer(url: str) -> bool:
    """Return True for a URL that tokens may come from: https, or this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_here = parts.scheme == "http" and is_loopback(parts.hostname or "")
    return bool(parts.hostname) and (parts.scheme == "https" or is_here)


def _check_choice(name: str, value: str, choices: object) -> None:
    allowed = get_args(choices)
    if value not in allowed:
        raise StartError(f"{name} must be {' or '.join(allowed)}, not {value!r}.")
