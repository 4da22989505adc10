"""Rules of every path: HEAD, ranges, methods, ids, hosts, origins, operations."""

import hashlib
import http.client
import re
from base64 import b64encode
from urllib.parse import urlsplit

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, someone
from support.servers import wait_until_ready

MANY_DIGITS = "9" * 5000
LOOPBACK_ORIGIN = "http://localhost:5173"


@pytest.fixture(scope="module")
def image(api: Api) -> httpx.Response:
    """A served image."""
    post = api.ready(someone(), samples.jpeg(900, 700))
    return api.get(post["image"]["large"]["url"])


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=5-99999999", 5, None),
        ("bytes=-99999999", 0, None),
        pytest.param(f"bytes=0-{MANY_DIGITS}", 0, None, id="from 0 to 5,000 digits"),
        pytest.param(f"bytes=-{MANY_DIGITS}", 0, None, id="the last 5,000 digits"),
        pytest.param(f"bytes=-{'0' * 5000}9", -9, None, id="5,000 zeros and a 9"),
    ],
)
def test_a_range_is_answered_with_just_that(
    api: Api, image: httpx.Response, value: str, start: int, stop: int | None
) -> None:
    content = image.content
    part = api.get(image.url.path, headers={"range": value})
    assert part.status_code == 206
    assert part.content == content[start:stop]
    first = start % len(content)
    last = first + len(part.content) - 1
    assert part.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
    assert part.headers["etag"] == image.headers["etag"]


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize(
    "value", ["lines=1-2", "bytes=5-2", "bytes=a-b", "bytes=0-1,5-6", "bytes=-"]
)
def test_a_range_that_is_not_understood_gives_the_whole(
    api: Api, image: httpx.Response, value: str
) -> None:
    answer = api.get(image.url.path, headers={"range": value})
    assert (answer.status_code, answer.content) == (200, image.content)


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize("value", ["bytes=99999999-", "bytes=-0", f"bytes={MANY_DIGITS}-"])
def test_a_range_behind_the_end_is_416(api: Api, image: httpx.Response, value: str) -> None:
    answer = api.get(image.url.path, headers={"range": value})
    assert_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(image.content)}"


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize("value", ["bytes=0-9", "bytes=-1", "bytes=99999999-", "bytes=0-1,5-6"])
def test_head_ignores_a_range(api: Api, image: httpx.Response, value: str) -> None:
    """RFC 9110 section 14.2: Range is defined for GET only."""
    answer = api.send("HEAD", image.url.path, headers={"range": value})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(image.content))
    assert "content-range" not in answer.headers


@pytest.mark.where(own_files=True)
def test_a_range_of_what_one_has_is_304(api: Api, image: httpx.Response) -> None:
    """RFC 9110 section 13.2.2: If-None-Match comes before Range."""
    headers = {"range": "bytes=0-9", "if-none-match": image.headers["etag"]}
    for method in ("GET", "HEAD"):
        answer = api.send(method, image.url.path, headers=headers)
        assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.where(own_gateway=True)
def test_options_of_the_whole_server_lists_its_methods(api: Api) -> None:
    """RFC 9110 section 9.3.7; another method of `*` is of no path."""
    answers = {}
    for method in ("OPTIONS", "GET"):
        address = urlsplit(api.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        connection.request(method, "*")
        answers[method] = connection.getresponse()
        connection.close()
    allowed = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    assert (answers["OPTIONS"].status, answers["OPTIONS"].getheader("allow")) == (204, allowed)
    assert answers["GET"].status == 404


@pytest.mark.where(own_gateway=True)
@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_of_proxies_are_refused_with_allow(api: Api, method: str) -> None:
    answer = api.send(method, "/posts")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.where(own_files=True)
def test_a_range_of_another_version_gives_the_whole(api: Api, image: httpx.Response) -> None:
    path, etag = image.url.path, image.headers["etag"]
    same = api.get(path, headers={"range": "bytes=0-9", "if-range": etag})
    other = api.get(path, headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"a", {}', "*"])
def test_a_image_one_has_is_304(api: Api, image: httpx.Response, form: str) -> None:
    condition = {"if-none-match": form.format(image.headers["etag"])}
    answer = api.get(image.url.path, headers=condition)
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("path", ["/posts", "/limits", "/healthz", "/docs", "image"])
def test_head_is_get_without_the_content(api: Api, image: httpx.Response, path: str) -> None:
    path = image.url.path if path == "image" else path
    plain = {"accept-encoding": "identity"}
    get, head = (api.send(way, path, headers=plain) for way in ("GET", "HEAD"))
    assert head.status_code == 200
    assert head.content == b""
    if api.edition.own_gateway:
        assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/posts", {"GET", "POST"}),
        ("POST", "/limits", {"GET"}),
        ("DELETE", "/comments", {"POST"}),
        pytest.param(
            *("PATCH", "/images/x/600.jpg", {"GET"}), marks=pytest.mark.where(own_files=True)
        ),
    ],
)
def test_a_wrong_method_is_told_which_are_right(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    answer = api.send(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert allowed <= {name.strip() for name in answer.headers["allow"].split(",")}


@pytest.mark.parametrize("path", ["/nothing", "/posts/x/y/z", "/docs/../etc/passwd", "/%00"])
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    assert_problem(api.get(path), 404, "route_not_found")


def test_a_request_id_is_given_or_kept(api: Api) -> None:
    first, second = (api.get("/healthz").headers["x-request-id"] for _ in range(2))
    assert first != second
    answer = api.get("/healthz", headers={"x-request-id": "trace-42"})
    assert answer.headers["x-request-id"] == "trace-42"
    replaced = api.get("/healthz", headers={"x-request-id": "no spaces please"})
    assert replaced.headers["x-request-id"] != "no spaces please"


@pytest.mark.where(one_machine=True)
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "169.254.1.1", "[::2]"])
def test_a_foreign_host_name_is_refused_with_dev_auth(api: Api, host: str) -> None:
    assert_problem(api.get("/posts", headers={"host": host}), 403, "host_not_allowed")


@pytest.mark.where(one_machine=True)
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8080"])
def test_a_loopback_host_name_is_fine(api: Api, host: str) -> None:
    assert api.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.where(one_machine=True)
def test_pages_from_loopback_origins_may_call(api: Api) -> None:
    answer = api.get("/posts", headers={"origin": LOOPBACK_ORIGIN})
    assert answer.headers["access-control-allow-origin"] == LOOPBACK_ORIGIN
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert {"etag", "link", "location", "x-request-id"} <= set(exposed.split(", "))
    preflight = api.send(
        "OPTIONS",
        "/posts",
        headers={
            "origin": LOOPBACK_ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "user-id",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == LOOPBACK_ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "user-id" in preflight.headers["access-control-allow-headers"].lower()


@pytest.mark.where(one_machine=True)
def test_pages_from_other_origins_may_not(api: Api) -> None:
    answer = api.get("/posts", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_limits_are_those_in_force(api: Api) -> None:
    limits = api.get("/limits").json()
    assert limits["image"]["max_bytes"] == 2_000_000
    assert limits["image"]["max_pixels"] == 4_000_000
    assert "image/heic" in limits["image"]["formats"]
    assert limits["caption"]["max_characters"] == 5000
    assert limits["alt"]["max_characters"] == 1500
    assert limits["comment"]["max_characters"] == 2000
    assert limits["page"]["latest_comments_max"] == 10


def test_it_is_alive_and_ready(api: Api) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    wait_until_ready(api.url)


@pytest.mark.where(one_machine=True)
def test_metrics_count_requests_by_route(api: Api) -> None:
    api.get("/posts")
    metrics = api.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert 'image_poster_http_request_seconds_count{method="GET",route="/posts",' in metrics.text


@pytest.mark.where(one_machine=True)
def test_metrics_tell_what_confines_decoders(api: Api) -> None:
    api.ready(someone())
    metrics = api.get("/metrics").text
    for measure in ("no_new_privs", "Landlock", "seccomp"):
        assert f'image_poster_sandbox{{measure="{measure}"}} 1.0' in metrics


@pytest.mark.where(one_machine=True)
def test_invented_methods_make_no_new_series(api: Api) -> None:
    for number in range(3):
        assert api.send(f"FOO{number}", "/posts").status_code == 405
    metrics = api.get("/metrics").text
    assert 'method="other",route="none",status="405"' in metrics
    assert "FOO" not in metrics


def test_the_docs_work_offline(api: Api) -> None:
    page = api.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert asset in page
        assert len(api.get(f"/docs/{asset}").content) > 10_000
    assert_problem(api.get("/docs/other.js"), 404, "route_not_found")


def test_the_docs_run_their_own_script_only_and_cannot_be_framed(api: Api) -> None:
    page = api.get("/docs")
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert page.headers["x-frame-options"] == "DENY"
    (inline,) = re.findall("<script>(.+?)</script>", page.text)
    digest = b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"


def test_the_openapi_document_lists_every_problem_code(api: Api) -> None:
    document = api.get("/openapi.json")
    assert document.json()["openapi"].startswith("3.1")
    from image_poster.domain.errors import ERRORS

    for error in ERRORS:
        assert f"`{error.code}`" in document.text


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/docs/swagger-ui.css", "/docs/favicon-32x32.png"]
)
def test_a_document_that_one_has_is_304(api: Api, path: str) -> None:
    first = api.get(path)
    condition = {"if-none-match": first.headers["etag"]}
    for method in ("GET", "HEAD"):
        repeated = api.send(method, path, headers=condition)
        assert (repeated.status_code, repeated.content) == (304, b"")
        assert repeated.headers["etag"] == first.headers["etag"]
        assert repeated.headers["cache-control"] == first.headers["cache-control"]
    assert api.get(path, headers={"if-none-match": '"other"'}).content == first.content


def test_who_i_am(api: Api) -> None:
    user = someone()
    me = api.get("/me", user).json()
    assert (me["user"], me["name"], me["admin"]) == (user, user, False)
    assert api.get("/me", "root").json()["admin"] is True
    nobody = api.get("/me").json()
    assert (nobody["user"], nobody["name"], nobody["admin"]) == (None, None, False)
    assert nobody["auth"]["mode"] == ("dev" if api.edition.one_machine else "jwt")


@pytest.mark.where(own_gateway=True)
def test_a_request_that_says_it_has_no_body_keeps_its_connection(api: Api) -> None:
    """Some clients send `Content-Length: 0` with every GET."""
    address = urlsplit(api.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    used = set()
    for _ in range(2):
        connection.request("GET", "/posts?limit=1", headers={"content-length": "0"})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, None)
        answer.read()
        used.add(connection.sock.getsockname())
    connection.close()
    assert len(used) == 1
