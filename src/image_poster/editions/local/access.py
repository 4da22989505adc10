"""Access to the API by the settings: identity, CORS origins, proxies, and limits by address."""

from image_poster.adapters.oidc import OidcTokenVerifier, OwnTokenVerifier, TokenVerifiers
from image_poster.adapters.sharing import RateCounters, SharedRateLimiter
from image_poster.domain.limits import request_rule
from image_poster.editions import parse_admin_claim, parse_list, parse_origins
from image_poster.editions.local.keys import TOKEN_KEY, read_revocations, token_key
from image_poster.editions.local.settings import Settings
from image_poster.http.addresses import AddressLimiter, TrustedProxies, networks
from image_poster.http.auth import Authenticator, DevAuthenticator, TokenAuthenticator, TokenTerms


def authenticator(settings: Settings) -> Authenticator:
    """The authenticator for `settings.auth`. Creates the key of the service's own tokens if there
    is none, and checks it and the revocations. Raises `StartError`."""
    admins = frozenset(parse_list(settings.admins))
    if settings.auth == "dev":
        return DevAuthenticator(admins)
    token_key(settings.data_dir)
    read_revocations(settings.data_dir)
    issuer = (
        OidcTokenVerifier(settings.jwt_issuer, parse_list(settings.jwt_audience))
        if settings.jwt_issuer
        else None
    )
    own = OwnTokenVerifier(settings.data_dir / TOKEN_KEY)
    terms = TokenTerms(
        admins=admins,
        admin_claim=parse_admin_claim(settings.jwt_admin_claim),
        name_claim=settings.jwt_name_claim,
        issuer=settings.jwt_issuer,
        client_id=settings.jwt_client_id,
        scope=settings.jwt_scope,
    )
    return TokenAuthenticator(TokenVerifiers(own, issuer), terms)


def cors_origins(settings: Settings) -> tuple[str, ...]:
    """The CORS origins of the settings. The default with tokens is all origins, because browsers do
    not send tokens by themselves, as they do with cookies. The default without tokens is loopback
    names only."""
    return parse_origins(settings.cors_origins) or (("*",) if settings.auth == "jwt" else ())


def address_limiter(settings: Settings, counts: RateCounters) -> AddressLimiter | None:
    """The limit on requests from one address; None if there is none."""
    rule = request_rule(settings.limits.rates)
    if rule is None:
        return None
    return AddressLimiter(SharedRateLimiter(counts, rule), _proxies(settings))


def file_senders(settings: Settings) -> TrustedProxies:
    """The proxies that send renditions themselves."""
    return _proxies(settings) if settings.accel_redirect else TrustedProxies()


def _proxies(settings: Settings) -> TrustedProxies:
    return TrustedProxies(networks(parse_list(settings.trusted_proxies)))
