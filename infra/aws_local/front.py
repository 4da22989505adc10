"""The parts of AWS in front of a stack, for the emulator: names, sign-in, CloudFront's two origins.

- It adds the origin secret to requests to the API, as CloudFront does: without it, the API refuses
  them.
- It forwards `/images/*` and the gallery to the stack's CloudFront distribution, everything else to
  its API, each by its `Host`. So one address serves both, as the distribution does on AWS.
- It is the identity provider too. A request with `user-id: NAME`, as for the one-machine edition,
  gets a token of that name. The stack has this address as its `JwtIssuer`, and checks the token
  like one of Cognito's. A bearer token in a request is not changed; `GET /_token/NAME` returns one.
- It sends OPTIONS to the Lambda directly, as API Gateway does, since the emulator's gateway would
  answer it itself.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

from aws_local.emulator import Emulator
from aws_local.stack import Stack

AUDIENCE = "image-poster"
_TOKEN_SECONDS = 3600
_TOKENS = "/_token/"
_HOP_BY_HOP = {
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    *("host", "content-length", "user-id"),
}
_IS_IN_A_BUCKET = re.compile(
    r"/(images/.*|assets/.*|icon.*|index\.html|service-worker\.js|manifest\.webmanifest)?$"
)
Headers = list[tuple[bytes, bytes]]


class Issuer:
    """An OpenID Connect issuer with one key, made for this run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)

    def token(self, user: str) -> str:
        """Return a token for this user."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": user, "iat": now - 5}
        header = {"alg": "RS256", "kid": self._key.kid}
        return jwt.encode(header, {**claims, "exp": now + _TOKEN_SECONDS}, self._key)

    def document(self, path: str) -> dict[str, Any] | None:
        """Return the document of the issuer at this path; None if there is none."""
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/.well-known/jwks.json"}
        if path == "/.well-known/jwks.json":
            return {"keys": [self._key.as_dict(private=False)]}
        if path.startswith(_TOKENS) and path != _TOKENS:
            return {"access_token": self.token(path.removeprefix(_TOKENS)), "token_type": "Bearer"}
        return None


class Front:
    """An ASGI app in front of the emulator. `stack` is set after the deployment."""

    def __init__(self, emulator: Emulator, issuer: Issuer) -> None:
        self.stack: Stack | None = None
        self._emulator = emulator
        self._issuer = issuer
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(base_url=emulator.url, timeout=60, limits=limits)
        self._lambda = emulator.client("lambda")
        self._secrets = emulator.client("secretsmanager")
        self._secret = ""

    def _origin_secret(self, stack: Stack) -> str:
        """Return the origin secret, as CloudFormation resolves it for the distribution."""
        if not self._secret:
            answer = self._secrets.get_secret_value(SecretId=stack.outputs["OriginSecret"])
            self._secret = str(answer["SecretString"])
        return self._secret

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return  # the client went away: API Gateway passes on whole requests only
        document = self._issuer.document(scope["path"])
        if document is not None:
            await _answer(send, 200, [(b"content-type", b"application/json")], _json(document))
        elif self.stack is None:
            await _answer(send, 503, [(b"retry-after", b"1")], b"the stack is not deployed yet")
        elif scope["method"] == "OPTIONS":
            await self._invoke(scope, send, self.stack)
        else:
            await self._pass_on(scope, body, send, self.stack)

    async def _pass_on(self, scope: Any, body: bytes, send: Any, stack: Stack) -> None:
        target = scope["raw_path"] + (
            b"?" + scope["query_string"] if scope["query_string"] else b""
        )
        headers = self._headers(scope["headers"])
        if _IS_IN_A_BUCKET.match(scope["path"]):
            host = stack.outputs["DistributionDomain"]
            headers.append((b"x-forwarded-proto", b"https"))
        else:
            host = f"{stack.outputs['ApiId']}.execute-api.localhost"
            headers.append((b"x-origin-secret", self._origin_secret(stack).encode()))
        headers.append((b"host", host.encode()))
        if b"accept-encoding" not in dict(headers):
            headers.append((b"accept-encoding", b"identity"))  # else httpx sends its own
        url = httpx.URL(self._emulator.url, raw_path=target)
        request = self._http.build_request(scope["method"], url, headers=headers, content=body)
        # Not decompressed: the client does that.
        answer = await self._http.send(request, stream=True)
        try:
            content = b"".join([part async for part in answer.aiter_raw()])
        finally:
            await answer.aclose()
        await _answer(send, answer.status_code, _end_to_end(answer.headers.raw), content)

    def _headers(self, sent: Headers) -> Headers:
        headers = _end_to_end(sent)
        names = dict(sent)
        user = names.get(b"user-id", b"").decode(errors="replace").strip()
        if user and b"authorization" not in names:
            headers.append((b"authorization", f"Bearer {self._issuer.token(user)}".encode()))
        return headers

    async def _invoke(self, scope: Any, send: Any, stack: Stack) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        headers["x-origin-secret"] = self._origin_secret(stack)
        event = _event(scope["method"], scope["path"], headers)
        answer = self._lambda.invoke(
            FunctionName=stack.outputs["ApiFunction"], Payload=_json(event)
        )
        response = json.loads(answer["Payload"].read())
        sent = [(name.encode(), str(value).encode()) for name, value in response["headers"].items()]
        await _answer(send, response["statusCode"], sent, response.get("body", "").encode())


def _event(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return an event of payload format 2.0, with the fields that matter here."""
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": dict(headers),
        "requestContext": {"http": http, "stage": "$default", "requestId": "front"},
        "isBase64Encoded": False,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _end_to_end(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower().decode() not in _HOP_BY_HOP]


async def _body(receive: Any) -> bytes | None:
    received = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        received += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(received)


async def _answer(send: Any, status: int, headers: Headers, body: bytes) -> None:
    lowered = [(name.lower(), value) for name, value in headers]
    sized = [*lowered, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body, "more_body": False})
