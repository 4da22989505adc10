"""Pages of another origin: what they may ask and read (Fetch Standard, section 3.2)."""

import httpx
import pytest

from support import samples
from support.api import Api, someone

ORIGIN = "http://localhost:5173"
PAGE = {"origin": ORIGIN}
FOREIGN = {"origin": "https://evil.example"}


def assert_readable(answer: httpx.Response) -> None:
    """A page of `ORIGIN` may read the answer. Either the answer is the same for every origin, or
    `Vary` tells caches to store one for each origin."""
    allowed = answer.headers["access-control-allow-origin"]
    assert allowed in (ORIGIN, "*")
    assert allowed == "*" or "Origin" in answer.headers["vary"]


@pytest.mark.where(own_files=True)
def test_an_image_shown_and_then_fetched_can_be_read(api: Api) -> None:
    """A browser keeps the answer to `<img>` (which sends no Origin) for a year. It gives that
    answer to a later `fetch` unless `Vary` says that it depends on the Origin."""
    url = api.ready(someone(), samples.jpeg())["image"]["url"]
    shown = api.get(url)
    assert "immutable" in shown.headers["cache-control"]
    anyone_may = shown.headers.get("access-control-allow-origin") == "*"
    assert anyone_may or shown.headers["vary"] == "Origin"
    assert_readable(api.get(url, headers=PAGE))
    condition = {"if-none-match": shown.headers["etag"]}
    assert api.get(url, headers=condition).headers.get("vary") == shown.headers.get("vary")
    assert_readable(api.get(url, headers=PAGE | condition))


@pytest.mark.parametrize(
    ("method", "path", "status", "sent"),
    [
        ("GET", "/nothing", 404, {}),
        ("GET", "/posts?limit=0", 422, {}),
        ("PUT", "/posts", 405, {}),
        ("HEAD", "/posts/x", 404, {}),
        pytest.param("POST", "/comments", 415, {}, id="415"),
        pytest.param("POST", "/uploads", 412, {"tus-resumable": "9"}, id="412"),
        pytest.param(
            *("POST", "/uploads", 413, {"tus-resumable": "1.0.0", "upload-length": "9" * 15}),
            id="413",
        ),
    ],
)
def test_errors_can_be_read(
    api: Api, method: str, path: str, status: int, sent: dict[str, str]
) -> None:
    answer = api.send(method, path, someone(), headers=PAGE | sent)
    assert answer.status_code == status
    assert_readable(answer)
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"Allow", "Retry-After", "RateLimit", "WWW-Authenticate", "X-Request-Id"} <= exposed


@pytest.mark.where(own_gateway=True)
def test_a_401_can_be_read(api: Api) -> None:
    answer = api.send("POST", "/comments", json={"post_id": "x", "content": "x"}, headers=PAGE)
    assert answer.status_code == 401
    assert_readable(answer)


@pytest.mark.where(one_machine=True)
def test_a_refused_host_name_can_be_read(api: Api) -> None:
    """A page of an allowed origin can read the refusal, which says that the name is wrong."""
    answer = api.get("/posts", headers=PAGE | {"host": "photos.example"})
    assert answer.status_code == 403
    assert_readable(answer)


@pytest.mark.parametrize(
    "path", ["/posts", "/uploads", "/posts/x", "/images/x/600.jpg", "/me/blocks/x", "/none"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_preflight_is_answered_on_every_path(api: Api, path: str, method: str) -> None:
    preflight = {
        "access-control-request-method": method,
        "access-control-request-headers": "user-id, upload-offset",
    }
    answer = api.send("OPTIONS", path, headers=PAGE | preflight)
    assert answer.status_code == 204
    assert_readable(answer)
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == "user-id, upload-offset"
    assert int(answer.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize("path", ["/uploads", "/uploads/01HZZZZZZZZZZZZZZZZZZZZZZZ"])
def test_a_page_can_discover_tus(api: Api, path: str) -> None:
    """Tus 1.0.0, Core, OPTIONS: the request has an Origin but no Access-Control-Request-Method, so
    it is no preflight."""
    answer = api.send("OPTIONS", path, headers=PAGE)
    assert answer.status_code == 204
    assert_readable(answer)
    assert answer.headers["tus-version"] == "1.0.0"
    assert "creation" in answer.headers["tus-extension"].split(",")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/posts", "GET, HEAD, OPTIONS, POST"),
        ("/comments", "OPTIONS, POST"),
        ("/posts/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/me", "DELETE, GET, HEAD, OPTIONS"),
        ("/me/blocks/x", "DELETE, OPTIONS, PUT"),
        ("/moderation/decisions", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_lists_the_methods(api: Api, path: str, methods: str) -> None:
    for headers in ({}, PAGE):
        answer = api.send("OPTIONS", path, headers=headers)
        assert (answer.status_code, answer.headers["allow"]) == (204, methods)
    other = next(name for name in ("PUT", "PATCH") if name not in methods)
    refused = api.send("FOO" if api.edition.own_gateway else other, path)
    assert refused.headers["allow"] == methods


@pytest.mark.where(one_machine=True)
def test_a_page_that_may_not_call_is_told_nothing(api: Api) -> None:
    preflight = {"access-control-request-method": "POST"}
    for answer in (
        api.get("/posts", headers=FOREIGN),
        api.send("OPTIONS", "/posts", headers=FOREIGN | preflight),
        api.send("OPTIONS", "/posts", headers={"origin": "null"} | preflight),
    ):
        assert not {name for name in answer.headers if name.startswith("access-control-")}
        assert "Origin" in answer.headers["vary"]
