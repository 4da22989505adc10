"""Every setting of the local edition. Each is a flag of `image-poster serve` and an environment
variable `IMAGE_POSTER_…` of the same name."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from image_poster.adapters.images.memory import default_budget_bytes
from image_poster.domain.images import ImageFit
from image_poster.domain.limits import PUBLIC_RATES, Limits, Rates
from image_poster.editions import StartError, admin_claim, checked_origins, listed

Auth = Literal["dev", "jwt"]
LogFormat = Literal["auto", "json", "console"]

_DEFAULTS = Limits()
_MAX_PORT = 65_535
_MIN_IMAGE_MEMORY = 256_000_000


def _setting(default: Any, help_text: str) -> Any:  # noqa: ANN401 - as dataclasses.field
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class Settings:
    """The defaults are those of the contract. Lists are written with commas."""

    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8080, "Port to listen on; 0 picks a free one.")
    public_url: str = _setting(
        "", "Address that clients know the service by, with the path below which it is, if any."
    )
    data_dir: Path = _setting(Path("data"), "Folder of the database and the images.")
    workers: int = _setting(1, "Processes that serve.")
    image_workers: int = _setting(2, "Images processed at a time, by each process.")
    auth: Auth = _setting(
        "dev", "Who is asking: dev believes the header user-id, jwt checks tokens."
    )
    insecure_dev_auth: bool = _setting(False, "Allow auth=dev on addresses others can reach.")
    jwt_issuer: str = _setting("", "Issuer (OpenID Connect) whose tokens are taken too.")
    jwt_audience: str = _setting("", "Audiences that the issuer's tokens must be for.")
    jwt_name_claim: str = _setting("preferred_username", "Claim that people are called by.")
    jwt_admin_claim: str = _setting(
        "", "Claim of the issuer's tokens and its value that make an admin, such as groups=admins."
    )
    jwt_client_id: str = _setting("", "The issuer's client by which pages sign people in.")
    jwt_scope: str = _setting("openid profile", "What such pages ask the issuer for.")
    admins: str = _setting("", "Users who may edit and delete everyone's posts.")
    cors_origins: str = _setting(
        "", "Origins whose pages may call; by default loopback ones (dev) or any (jwt)."
    )
    trusted_proxies: str = _setting(
        "", "Addresses or networks of proxies whose X-Forwarded-… headers are believed."
    )
    writes_per_minute: int | None = _setting(
        None, "Writes of one user in a minute; 0: any. With jwt 120, with dev any."
    )
    bytes_per_day: int | None = _setting(
        None, "Bytes of one user's images in a day; 0: any. With jwt 5000000000, with dev any."
    )
    uploads_under_way: int | None = _setting(
        None, "Uploads of one user at a time; 0: any. With jwt 50, with dev any."
    )
    requests_per_minute: int | None = _setting(
        None, "Requests from one address in a minute; 0: any. With jwt 1200, with dev any."
    )
    image_bytes: int = _setting(_DEFAULTS.image_bytes, "Most bytes of an image.")
    disk_reserve: int = _setting(
        64_000_000, "Bytes of the disk that texts leave free; images leave twice that."
    )
    renditions_group: str = _setting(
        "", "Group that may read renditions/, for a proxy that sends them; else nobody."
    )
    accel_redirect: bool = _setting(
        False, "Have trusted proxies send renditions themselves (X-Accel-Redirect)."
    )
    image_pixels: int = _setting(_DEFAULTS.image_pixels, "Most pixels of an image.")
    image_fit: ImageFit = _setting("cover", "How an image fills its square.")
    image_memory: int = _setting(
        0, "Bytes of memory for all decoders; 0 is a third of the machine's, at most 2 GB."
    )
    image_seconds: int = _setting(60, "Most seconds that an image may take to process.")
    caption_characters: int = _setting(_DEFAULTS.caption_characters, "Longest caption.")
    alt_characters: int = _setting(_DEFAULTS.alt_characters, "Longest alt text.")
    comment_characters: int = _setting(_DEFAULTS.comment_characters, "Longest comment.")
    access_log: bool = _setting(False, "Log each request.")
    log_format: LogFormat = _setting("auto", "auto: console on a terminal, else json.")

    def __post_init__(self) -> None:
        """Raises `StartError`."""
        if not 0 <= self.port <= _MAX_PORT:
            raise StartError(f"port must be 0 to {_MAX_PORT}, not {self.port}.")
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise StartError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.image_memory and self.image_memory < _MIN_IMAGE_MEMORY:
            raise StartError(
                f"image_memory must be 0 or at least {_MIN_IMAGE_MEMORY:,} bytes, not "
                f"{self.image_memory:,}: a usual photograph needs that much."
            )
        checked_origins(self.cors_origins)
        checked_networks(self.trusted_proxies)
        self._check_accel_redirect()
        _check_public_url(self.public_url)
        for rate in _RATES:
            if (getattr(self, rate) or 0) < 0:
                raise StartError(f"{rate} must be 0 (any) or more, not {getattr(self, rate)}.")
        _check_choice("auth", self.auth, Auth)
        _check_choice("image_fit", self.image_fit, ImageFit)
        _check_choice("log_format", self.log_format, LogFormat)
        self._check_issuer()
        if self.auth == "dev" and not (self.insecure_dev_auth or is_loopback(self.host)):
            raise StartError(
                f"auth=dev believes any user-id, so it will not listen on {self.host}: "
                "use a loopback address such as 127.0.0.1, or --auth jwt; "
                "on a closed network, pass --insecure-dev-auth."
            )

    def _check_accel_redirect(self) -> None:
        """Raises `StartError`."""
        if self.accel_redirect and not (self.trusted_proxies and self.renditions_group):
            raise StartError(
                "accel_redirect needs trusted_proxies, which says who may be told where a file is, "
                "and renditions_group, by which they can read it."
            )

    def _check_issuer(self) -> None:
        """Raises `StartError`."""
        if bool(self.jwt_issuer) != bool(self.jwt_audience):
            raise StartError("jwt_issuer and jwt_audience are set both, or neither.")
        if self.jwt_client_id and not self.jwt_issuer:
            raise StartError("jwt_client_id is a client of jwt_issuer: set that too.")
        if admin_claim(self.jwt_admin_claim) and not self.jwt_issuer:
            raise StartError("jwt_admin_claim is a claim of jwt_issuer's tokens: set that too.")
        if self.jwt_issuer and self.auth != "jwt":
            raise StartError("jwt_issuer is for auth=jwt: pass --auth jwt, or leave it out.")
        if self.jwt_issuer and not is_issuer(self.jwt_issuer):
            raise StartError(f"jwt_issuer must be an https URL, not {self.jwt_issuer!r}.")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on settings that are allowed, and dangerous."""
        is_public = not is_loopback(self.host)
        warnings = []
        if self.auth == "dev" and self.insecure_dev_auth:
            warnings.append("auth=dev believes any user-id, and others can reach this address")
        if self.auth == "jwt" and is_public and not self.trusted_proxies:
            warnings.append(
                f"bearer tokens travel to {self.host} in clear text: anybody on the way can read "
                "and use them. Listen on 127.0.0.1 behind a proxy with TLS (docs/in-public.md), "
                "and name the proxy with --trusted-proxies"
            )
        warnings += (
            f"trusted_proxies: {network} is a public network of {network.num_addresses:,} "
            "addresses, and each of them may name any caller. List the proxies only"
            for network in map(ipaddress.ip_network, checked_networks(self.trusted_proxies))
            if _is_wide(network)
        )
        return tuple(warnings)

    @property
    def limits(self) -> Limits:
        """The part that clients are told about."""
        return Limits(
            image_bytes=self.image_bytes,
            image_pixels=self.image_pixels,
            image_memory=self.image_memory or default_budget_bytes(),
            caption_characters=self.caption_characters,
            alt_characters=self.alt_characters,
            comment_characters=self.comment_characters,
            rates=Rates(**{name: self._rate(name) for name in _RATES}),
        )

    def _rate(self, name: str) -> int | None:
        """As set; else what `auth` asks for. None is any."""
        most: int | None = getattr(self, name)
        if most is None and self.auth == "jwt":
            most = getattr(PUBLIC_RATES, name)
        return most or None


_RATES = Rates.__struct_fields__
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Prefixes of IPv4 and IPv6: few proxies have so many public addresses (the networks of a CDN).
_WIDE_PREFIXES = {4: 16, 6: 32}
# RFC 1918, 6598, 4193, 4291, and the loopback ones: nobody has them on the internet.
_INNER_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
)
_PUBLIC_URL = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d+)?(/(?P<first>[\w.~-]+)(/[\w.~-]+)*)?",
    re.IGNORECASE,
)
# First segments of the service's own paths: below such a one it could not tell whether a proxy has
# taken the public path away.
ROUTE_ROOTS = {
    *("posts", "comments", "images", "uploads", "me", "limits", "healthz", "readyz", "metrics"),
    *("openapi.json", "docs", "assets"),
}
_POSITIVE = (
    "workers",
    "image_workers",
    "disk_reserve",
    "image_bytes",
    "image_pixels",
    "image_seconds",
    "caption_characters",
    "alt_characters",
    "comment_characters",
)


def _check_public_url(url: str) -> None:
    """Raises `StartError`."""
    if not url:
        return
    found = _PUBLIC_URL.fullmatch(url)
    if found is None:
        raise StartError(
            "public_url must be an http or https URL without a slash at its end, a query or a "
            f"fragment, such as https://photos.example.org/api, not {url!r}."
        )
    if found["first"] in ROUTE_ROOTS:
        raise StartError(
            f"public_url: the service has a /{found['first']} of its own; choose another path."
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


def checked_networks(text: str) -> tuple[str, ...]:
    """The addresses and networks in a comma-separated setting. Raises `StartError`."""
    for entry in listed(text):
        try:
            ipaddress.ip_network(entry)
        except ValueError as exc:
            raise StartError(
                f"trusted_proxies: {entry} is no address such as 127.0.0.1, and no network such as "
                f"10.0.0.0/8 ({exc})."
            ) from exc
    return listed(text)


def _is_wide(network: Network) -> bool:
    """True for a public network with more addresses than proxies have."""
    if any(_contains(inner, network) for inner in _INNER_NETWORKS):
        return False
    return network.prefixlen < _WIDE_PREFIXES[network.version]


def _contains(outer: Network, network: Network) -> bool:
    same_kind = outer.version == network.version
    return same_kind and network.subnet_of(outer)  # type: ignore[arg-type]


def is_issuer(url: str) -> bool:
    """Return True for a URL that tokens may come from: https, or this machine."""
    try:
        place = urlsplit(url)
    except ValueError:
        return False
    is_here = place.scheme == "http" and is_loopback(place.hostname or "")
    return bool(place.hostname) and (place.scheme == "https" or is_here)


def _check_choice(name: str, value: str, choices: object) -> None:
    allowed = get_args(choices)
    if value not in allowed:
        raise StartError(f"{name} must be {' or '.join(allowed)}, not {value!r}.")
