"""The page at `/`, as browsers get it; `tests/browser` shows what it does there."""

import gzip
import json
import re

import pytest

from support.api import Api, assert_problem


def policy(api: Api) -> dict[str, str]:
    sent = api.get("/").headers["content-security-policy"]
    return dict(part.split(" ", 1) for part in sent.split("; "))


def linked(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


def test_the_page_names_only_what_is_served_beside_it(api: Api) -> None:
    answer = api.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert linked(answer.text)
    for path in linked(answer.text):
        assert path.startswith("./"), "the page may live at any path"
        assert api.get(path.removeprefix(".").replace("&amp;", "&")).status_code == 200, path


def test_the_page_runs_no_inline_script_and_loads_nothing_foreign(api: Api) -> None:
    directives = policy(api)
    assert (
        directives["default-src"]
        == directives["base-uri"]
        == directives["frame-ancestors"]
        == "'none'"
    )
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["connect-src"].startswith("'self'")
    assert directives["connect-src"] == "'self'" or not api.edition.own_files
    assert "unsafe" not in str(directives)
    page = api.get("/").text
    assert all("src=" in tag for tag in re.findall("<script[^>]*>", page))
    assert "style=" not in page
    assert "<style" not in page


def test_assets_are_named_by_their_content_and_kept_for_ever(api: Api) -> None:
    scripts = [path for path in linked(api.get("/").text) if path.endswith(".js")]
    assert scripts
    for script in scripts:
        answer = api.get(script.removeprefix("."))
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].startswith("text/javascript")


@pytest.mark.where(own_files=True)
def test_there_are_no_other_assets(api: Api) -> None:
    assert_problem(api.get("/assets/other.js"), 404, "route_not_found")
    assert_problem(api.get("/assets/..%2findex.html"), 404, "route_not_found")


@pytest.mark.parametrize("path", ["/", "/service-worker.js", "/manifest.webmanifest"])
def test_what_keeps_its_name_is_asked_for_again_and_is_304_while_it_stays(
    api: Api, path: str
) -> None:
    answer = api.get(path)
    assert answer.headers["cache-control"] == "no-cache"
    again = api.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("br, gzip", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0, gzip;q=0, *", None),
        ("*", "br"),
        ("identity", None),
    ],
)
def test_the_page_comes_compressed_as_asked_for(
    api: Api, accepted: str, coding: str | None
) -> None:
    with api.http.stream("GET", "/", headers={"accept-encoding": accepted}) as answer:
        sent = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == coding
    assert "Accept-Encoding" in answer.headers["vary"]
    plain = api.get("/", headers={"accept-encoding": "identity"})
    assert (answer.headers["etag"] == plain.headers["etag"]) == (coding is None)
    if coding == "gzip":
        assert gzip.decompress(sent) == plain.content


def test_the_manifest_makes_it_installable(api: Api) -> None:
    manifest = json.loads(api.get("/manifest.webmanifest").text)
    assert manifest["start_url"] == manifest["scope"] == "./"
    assert {icon["sizes"] for icon in manifest["icons"]} >= {"192x192", "512x512"}
    for icon in manifest["icons"]:
        assert api.get(icon["src"].removeprefix(".")).headers["content-type"] == icon["type"]


@pytest.mark.where(own_files=True)
def test_the_first_view_has_at_most_60_kb_of_script_and_style(api: Api) -> None:
    paths = [path for path in linked(api.get("/").text) if re.search(r"\.(js|css)$", path)]
    total = 0
    for path in paths:
        headers = {"accept-encoding": "gzip"}
        with api.http.stream("GET", path.removeprefix("."), headers=headers) as answer:
            total += len(b"".join(answer.iter_raw()))
    assert 10_000 < total <= 60_000
