"""An OpenID Connect issuer, as somebody else would run it: its documents over HTTP, keys that
rotate, and outages."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "image-poster-tests"
Key = RSAKey | ECKey


class FakeIssuer:
    """`down` makes it answer 500, `named` is the name that it gives itself, and `asked` counts how
    often its documents were fetched."""

    def __init__(self, url: str) -> None:
        self.url = self.named = url
        self.down = False
        self.asked = 0
        self.key = rsa_key()

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
            return {"issuer": self.named, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            other = rsa_key().as_dict(private=False) | {"use": "enc", "kid": "for encryption"}
            unknown = {"kty": "of the future", "kid": "unknown"}
            return {"keys": [unknown, other, self.key.as_dict(private=False)]}
        return None


def rsa_key() -> RSAKey:
    """A key for RS256."""
    return RSAKey.generate_key(2048, {"use": "sig"}, auto_kid=True)


def signed(key: Key, claims: dict[str, Any], algorithm: str = "RS256", **header: Any) -> str:
    """A token with these claims; those that are None are left out, and so are headers."""
    head = {"alg": algorithm, "kid": key.kid, "typ": "JWT"} | header
    kept = {name: value for name, value in head.items() if value is not None}
    left = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, left, key, algorithms=[algorithm])


@contextmanager
def running_issuer() -> Iterator[FakeIssuer]:
    """On a free port, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            found = None if issuer.down else issuer.document(self.path)
            body = json.dumps(found).encode()
            self.send_response(200 if found else 500)
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
        server.shutdown()
        thread.join()
        server.server_close()
