"""The keys of an OpenID Connect issuer. A separate thread fetches them, in at most 10 seconds and
at most every 10 seconds. So a slow, unreachable or hostile issuer blocks no other request.

OpenID Connect Discovery 1.0, section 4 (the address of the keys); RFC 7517 (their format).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, NamedTuple, TypeVar
from urllib.request import OpenerDirector

import msgspec
import structlog

from image_poster.adapters.bounded_http import bounded_opener, check_url

Document = TypeVar("Document")
_FRESH_SECONDS = 3600
_APART_SECONDS = 10
_FETCH_SECONDS = 10
_WAIT_SECONDS = 2
_MAX_DOCUMENT_BYTES = 1_000_000
_MAX_KEYS = 100

_log = structlog.get_logger()


class _Discovery(msgspec.Struct):
    """OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    jwks_uri: str
    token_endpoint: str = ""


class _KeySet(msgspec.Struct):
    """RFC 7517, section 5. Each key is decoded separately."""

    keys: list[Any]


class IssuerDocuments(NamedTuple):
    """An issuer's keys for RS256 by their ids, the ids of keys that cannot be read, and its token
    endpoint."""

    keys: Mapping[str, Any]
    unreadable: frozenset[str] = frozenset()
    token_endpoint: str = ""


class IssuerKeys:
    """An issuer's keys, fetched at first use, every hour, and for a token with an unknown key. A
    fetch that fails keeps the former keys. `seconds` is a monotonic clock."""

    def __init__(self, issuer: str, seconds: Callable[[], float] = time.monotonic) -> None:
        self.documents = IssuerDocuments({})
        self._issuer = issuer
        self._seconds = seconds
        self._started = self._fetched = self._failed = float("-inf")
        self._fetch: Future[None] = Future()
        self._fetch.set_result(None)

    @property
    def are_current(self) -> bool:
        """True if no fetch runs, and none failed since the issuer's last answer."""
        return self._fetch.done() and self._fetched > self._failed

    async def refresh(self, *, is_known: bool) -> None:
        """Fetch the keys if they are an hour old, or if a token's key is not known.

        A caller waits 2 seconds at most. While the issuer fails, a caller with a known key does not
        wait; of the others, only the caller that starts the fetch does.
        """
        now = self._seconds()
        if is_known and now - self._fetched <= _FRESH_SECONDS:
            return
        is_stuck = not self._fetch.done() and now - self._started > _FETCH_SECONDS
        is_failing = is_stuck or self._failed > self._fetched
        is_due = self._fetch.done() and now - self._started >= _APART_SECONDS
        if is_due:
            self._start(now)
        if not is_failing or (is_due and not is_known):
            await asyncio.wait({asyncio.wrap_future(self._fetch)}, timeout=_WAIT_SECONDS)

    def _start(self, now: float) -> None:
        self._started, fetch = now, Future[None]()
        fetch.set_running_or_notify_cancel()
        # It ends with the process, which must not wait for it.
        thread = Thread(target=self._run, args=(fetch,), name="issuer-keys", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left
            self._failed = now
        else:
            self._fetch = fetch

    def _run(self, fetch: Future[None]) -> None:
        try:
            documents = fetch_documents(self._issuer)
        except Exception as exc:  # noqa: BLE001 - whatever an issuer sends: the former keys stay
            self._failed = self._seconds()
            _log.warning(
                "the keys of the token issuer cannot be fetched", issuer=self._issuer, why=str(exc)
            )
        else:
            if documents.unreadable - self.documents.unreadable:
                names = sorted(documents.unreadable)
                _log.warning("keys of the issuer cannot be read", issuer=self._issuer, keys=names)
            self.documents, self._fetched = documents, self._seconds()
        finally:
            fetch.set_result(None)


def fetch_documents(issuer: str) -> IssuerDocuments:
    """Fetch the issuer's documents. Raises `OSError`, `HTTPException`, and `ValueError` for invalid
    documents."""
    opener = bounded_opener(_FETCH_SECONDS)
    discovery = _fetch_document(
        opener, f"{issuer.rstrip('/')}/.well-known/openid-configuration", _Discovery
    )
    if discovery.issuer != issuer:  # OpenID Connect Discovery 1.0, section 4.3
        raise ValueError(f"it calls itself {discovery.issuer}")
    keys: dict[str, Any] = {}
    unreadable = set()
    for key in _fetch_document(opener, discovery.jwks_uri, _KeySet).keys[:_MAX_KEYS]:
        try:
            if _is_usable(key):
                keys[key["kid"]] = import_key(key)
        except ValueError:
            unreadable.add(str(key["kid"])[:100])
    return IssuerDocuments(keys, frozenset(unreadable), discovery.token_endpoint)


def _is_usable(key: Any) -> bool:  # noqa: ANN401 - an entry of the set
    """True for a key for RS256 that tokens can name."""
    if not isinstance(key, dict) or not key.get("kid"):
        return False
    return key.get("kty") == "RSA" and key.get("use", "sig") == "sig"


def import_key(key: Any) -> Any:  # noqa: ANN401 - joserfc's
    """The RSA key of a PEM or of an entry of a key set. Raises `ValueError`."""
    # Here, for a cold Lambda needs this only for those who read with a token.
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    try:
        return RSAKey.import_key(key)
    except (ArithmeticError, AttributeError, JoseError, TypeError, ValueError) as exc:
        raise ValueError("it is no RSA key") from exc


def _fetch_document(opener: OpenerDirector, url: str, kind: type[Document]) -> Document:
    check_url(url)
    with opener.open(url) as answer:
        content = answer.read(_MAX_DOCUMENT_BYTES + 1)
    if len(content) > _MAX_DOCUMENT_BYTES:
        raise ValueError(f"{url} has more than {_MAX_DOCUMENT_BYTES:,} bytes")
    return msgspec.json.decode(content, type=kind)
