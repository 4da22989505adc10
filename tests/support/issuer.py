"""An OpenID Connect issuer, as somebody else would run it: its documents over HTTP, keys that
rotate, and outages."""

import hashlib
import json
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "image-poster-tests"
Key = RSAKey | ECKey
DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"


class Misbehaviour(Protocol):
    """An answer of an issuer that is none of its documents."""

    def __call__(self, request: BaseHTTPRequestHandler, release: threading.Event, /) -> None: ...


def drip(request: BaseHTTPRequestHandler, release: threading.Event) -> None:
    """Send a byte at a time, for ever."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")
    while not release.wait(0.05):
        request.wfile.write(b" ")
        request.wfile.flush()


def drip_head(request: BaseHTTPRequestHandler, release: threading.Event) -> None:
    """Send headers, for ever."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not release.wait(0.05):
        request.wfile.write(b"x: x\r\n")
        request.wfile.flush()


def stay_silent(_request: BaseHTTPRequestHandler, release: threading.Event) -> None:
    """Send nothing at all."""
    release.wait()


def redirect(target: str) -> Misbehaviour:
    """Lead to `target`."""

    def answer(request: BaseHTTPRequestHandler, _release: threading.Event) -> None:
        request.send_response(302)
        request.send_header("location", target)
        request.send_header("content-length", "0")
        request.end_headers()

    return answer


def send(body: bytes, **headers: str) -> Misbehaviour:
    """Answer with `body`."""

    def answer(request: BaseHTTPRequestHandler, _release: threading.Event) -> None:
        request.send_response(200)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


class FakeIssuer:
    """`down` makes it answer 500, `named` is the name that it gives itself, and `asked` counts how
    often its documents were fetched. `misbehave` answers instead, at the paths that it has;
    `misbehaving_paths` has the paths where it did, and `release` ends what it holds.
    `other_keys` are published too."""

    def __init__(self, url: str) -> None:
        self.url = self.named = url
        self.down = False
        self.document_requests = 0
        self.misbehave: dict[str, Misbehaviour] = {}
        self.misbehaving_paths: set[str] = set()
        self.release = threading.Event()
        self.other_keys: list[Any] = []
        self.key = rsa_key()
        self.exchanges: list[str] = []
        self.tokens_at = url  # some give them at another host than their own
        self.has_logout = False
        self.authorizations: list[dict[str, str]] = []  # the queries of /authorize
        self.logouts: list[dict[str, str]] = []  # the queries of /logout
        self.gate = threading.Event()  # /token answers once this is set
        self.gate.set()
        self.waiting = threading.Event()  # a request waits at the gate
        self._challenges: dict[str, str] = {}

    def rotate(self) -> None:
        """From now on another key."""
        self.key = rsa_key()

    def token(self, user: str = "alice", **claims: Any) -> str:
        """A token for this user; a claim that is None is left out."""
        return signed(self.key, self.claims(user) | claims)

    def claims(self, user: str) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self.url, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + 600}

    def document(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            logout = {"end_session_endpoint": f"{self.url}/logout"} if self.has_logout else {}
            return logout | {
                "issuer": self.named,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.tokens_at}/token",
            }
        if path == "/keys":
            other = stranger_key().as_dict(private=False) | {"use": "enc", "kid": "for encryption"}
            unknown = {"kty": "of the future", "kid": "unknown"}
            signing_key = self.key.as_dict(private=False)
            return {"keys": [unknown, other, *self.other_keys, signing_key]}
        return None

    def authorized(self, query: dict[str, str]) -> str:
        """The target of a browser's redirect from `/authorize`: everybody is alice, and nobody is
        asked (RFC 6749, section 4.1.2)."""
        assert query["code_challenge_method"] == "S256"
        self.authorizations.append(query)
        self._challenges[code := secrets.token_hex(8)] = query["code_challenge"]
        answer = urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{answer}"

    def exchanged(self, form: dict[str, str]) -> dict[str, Any]:
        """The answer of `/token`, for a code and its verifier (RFC 7636, section 4.6), or for a
        refresh token."""
        if form["grant_type"] == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = urlsafe_b64encode(digest).decode().rstrip("=")
            assert self._challenges.pop(form["code"]) == challenge
        self.exchanges.append(form["grant_type"])
        if not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(600)
        token = self.token()
        return {
            "access_token": token,
            "id_token": self.token(aud=form["client_id"]),
            "refresh_token": secrets.token_hex(8),
            "token_type": "Bearer",
            "expires_in": 600,
        }


def rsa_key() -> RSAKey:
    """A key for RS256."""
    return RSAKey.generate_key(2048, {"use": "sig"}, auto_kid=True)


@cache
def stranger_key() -> RSAKey:
    """A key that is no issuer's."""
    return rsa_key()


def garbage_token(claims: dict[str, Any]) -> str:
    """A stranger's token, with a key id that nobody has."""
    return signed(stranger_key(), claims, kid=secrets.token_hex(8))


def signed(key: Key, claims: dict[str, Any], algorithm: str = "RS256", **header: Any) -> str:
    """A token with these claims; those that are None are left out, and so are headers."""
    head = {"alg": algorithm, "kid": key.kid, "typ": "JWT"} | header
    fields = {name: value for name, value in head.items() if value is not None}
    present_claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(fields, present_claims, key, algorithms=[algorithm])


@contextmanager
def running_issuer() -> Iterator[FakeIssuer]:
    """On a free port, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path in ("/authorize", "/logout"):
                arguments = dict(parse_qsl(query))
                self.send_response(302)
                if path == "/logout":
                    issuer.logouts.append(arguments)
                    self.send_header("location", arguments["post_logout_redirect_uri"])
                else:
                    self.send_header("location", issuer.authorized(arguments))
                self.send_header("content-length", "0")
                self.end_headers()
                return
            issuer.document_requests += 1
            if path in issuer.misbehave:
                issuer.misbehaving_paths.add(path)
                with suppress(OSError):  # the other side may have had enough
                    issuer.misbehave[path](self, issuer.release)
                return
            document = None if issuer.down else issuer.document(self.path)
            self._answer(200 if document else 500, document)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            self._answer(200, issuer.exchanged(dict(parse_qsl(form))))

        def _answer(self, status: int, document: dict[str, Any] | None) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("access-control-allow-origin", "*")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = FakeIssuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        issuer.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
