"""`POST /posts` as JSON, and the signed URL that then takes the image in one PUT."""

import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone

IMAGE = samples.from_phone(6, 300, 200)
SHA256 = hashlib.sha256(IMAGE).hexdigest()
TUS = {"tus-resumable": "1.0.0"}


def reserve(api: Api, user: str, **parts: Any) -> httpx.Response:
    image = {"size": len(IMAGE), "content_type": "image/jpeg", **parts.pop("image", {})}
    headers = parts.pop("headers", {})
    return api.send("POST", "/posts", user, json={"image": image, **parts}, headers=headers)


class Reserved:
    """A post that awaits its image."""

    def __init__(self, api: Api, **parts: Any) -> None:
        self.api = api
        self.user = someone("alice")
        answer = reserve(api, self.user, **parts)
        assert answer.status_code == 201, answer.text
        self.post = answer.json()
        self.path = f"/posts/{self.post['id']}"

    def put(self, content: bytes = IMAGE, **changes: Any) -> httpx.Response:
        """As nobody in particular: the URL is signed."""
        way = self.post["upload"]["put"]
        url = urljoin(self.api.url, changes.get("url", way["url"]))
        headers = {**way["headers"], **changes.get("headers", {})}
        return self.api.http.put(url, content=content, headers=headers)

    def now(self) -> dict[str, Any]:
        return self.api.processed(self.path, self.user)

    def tus(self, method: str, content: bytes = b"", **headers: str) -> httpx.Response:
        sent = {**TUS, "content-type": "application/offset+octet-stream", **headers}
        path = self.post["upload"]["tus"]
        return self.api.send(method, path, self.user, content=content, headers=sent)


def test_a_reserved_post_awaits_its_image_and_says_how_it_may_come(api: Api) -> None:
    reserved = Reserved(api, caption=" At the lake ", alt="A lake")
    post = reserved.post
    assert (post["status"], post["image"]) == ("awaiting_upload", None)
    assert (post["caption"], post["alt"]) == ("At the lake", "A lake")
    put = post["upload"]["put"]
    assert put["headers"] == {"content-type": "image/jpeg"}
    assert put["expires_at"] > post["created_at"]
    current = reserved.now()
    assert current.pop("upload")["tus"] == post.pop("upload")["tus"]
    assert current == post
    assert api.get(reserved.path).status_code == 404
    assert api.feed(creator=reserved.user)["posts"] == []


def test_a_put_makes_one_post_and_repeating_it_is_harmless(api: Api) -> None:
    reserved = Reserved(api, image={"sha256": SHA256.upper()})
    for _ in range(2):
        assert reserved.put().status_code in (200, 204)
        assert reserved.now()["status"] == "ready"
    assert api.get(f"{reserved.path}/original", reserved.user).content == IMAGE
    assert len(api.feed(creator=reserved.user)["posts"]) == 1


@pytest.mark.where(own_files=True)
def test_a_put_of_something_else_changes_nothing_any_more(api: Api) -> None:
    reserved = Reserved(api)
    assert (reserved.put().status_code, reserved.put(b"something else").status_code) == (204, 204)
    assert api.get(f"{reserved.path}/original", reserved.user).content == IMAGE


def test_a_reserved_post_may_be_uploaded_by_tus(api: Api) -> None:
    reserved = Reserved(api, image={"sha256": SHA256})
    assert reserved.tus("HEAD").headers["upload-length"] == str(len(IMAGE))
    assert reserved.tus("PATCH", IMAGE, **{"upload-offset": "0"}).status_code == 204
    assert reserved.now()["status"] == "ready"
    assert reserved.put().is_success


@pytest.mark.where(own_files=True)
def test_a_put_begins_anew_wherever_tus_had_come_to(api: Api) -> None:
    reserved = Reserved(api)
    assert reserved.tus("PATCH", IMAGE[:100], **{"upload-offset": "0"}).status_code == 204
    assert reserved.put().status_code == 204
    assert api.get(f"{reserved.path}/original", reserved.user).content == IMAGE


@pytest.mark.parametrize(
    "way", [pytest.param("put", marks=pytest.mark.where(own_files=True)), "tus"]
)
def test_other_bytes_than_announced_are_460_and_nothing_of_them_is_kept(api: Api, way: str) -> None:
    reserved = Reserved(api, image={"sha256": SHA256})
    damaged = IMAGE[:-1] + b"?"
    if way == "put":
        answer = reserved.put(damaged)
    else:
        answer = reserved.tus("PATCH", damaged, **{"upload-offset": "0"})
    assert_problem(answer, 460, "checksum_mismatch")
    assert reserved.tus("HEAD").headers["upload-offset"] == "0"
    assert reserved.put().is_success
    assert reserved.now()["status"] == "ready"


@pytest.mark.where(own_files=True)
def test_a_put_of_another_size_is_told_so(api: Api) -> None:
    reserved = Reserved(api)
    longer = assert_problem(reserved.put(IMAGE + b"x"), 413, "upload_too_large")
    assert f"more bytes than the announced length of {len(IMAGE)} leaves" in longer["detail"]
    problem = assert_problem(reserved.put(IMAGE[:-1]), 400, "invalid_request")
    assert str(len(IMAGE)) in problem["detail"]
    unsized = api.http.put(
        reserved.post["upload"]["put"]["url"],
        content=iter([IMAGE[:-1]]),
        headers=reserved.post["upload"]["put"]["headers"],
    )
    assert_problem(unsized, 400, "invalid_request")
    assert reserved.put().status_code == 204


@pytest.mark.where(own_files=True)
def test_a_put_needs_the_headers_it_was_signed_with(api: Api) -> None:
    reserved = Reserved(api)
    answer = reserved.put(headers={"content-type": "image/png"})
    assert "image/jpeg" in assert_problem(answer, 415, "unsupported_media_type")["detail"]


@pytest.mark.where(own_files=True)
def test_a_put_of_something_else_is_refused_by_its_content(api: Api) -> None:
    reserved = Reserved(api, image={"size": 4000})
    assert_problem(reserved.put(b"no image " * 500), 413, "upload_too_large")
    assert_problem(reserved.put((b"no image " * 500)[:4000]), 415, "unsupported_image")
    assert reserved.now()["status"] == "awaiting_upload"


@pytest.mark.where(own_files=True)
def test_a_url_that_was_changed_is_403(api: Api) -> None:
    reserved, other = Reserved(api), Reserved(api)
    mine = urlsplit(reserved.post["upload"]["put"]["url"])
    (grant,) = parse_qs(mine.query)["grant"]
    forged = [
        f"{mine.path}?{urlencode({'grant': grant[:-1] + ('A' if grant[-1] != 'A' else 'B')})}",
        f"{mine.path}?grant=nonsense",
        f"{mine.path}?grant=%00%C3%A9",
        mine.path,
        f"{other.path.replace('posts', 'uploads')}?{mine.query}",
    ]
    for url in forged:
        assert_problem(reserved.put(url=url), 403, "upload_url_invalid")
    assert other.now()["status"] == "awaiting_upload"


@pytest.mark.where(own_files=True)
def test_a_put_to_a_deleted_post_is_410(api: Api) -> None:
    reserved = Reserved(api)
    assert api.send("DELETE", reserved.path, reserved.user).status_code == 204
    assert_problem(reserved.put(), 410, "upload_gone")


def test_a_repeated_reservation_is_one_post(api: Api) -> None:
    alice = someone("alice")
    key = {"idempotency-key": "a key"}
    first = reserve(api, alice, headers=key)
    again = reserve(api, alice, headers=key)
    body, repeated = first.json(), again.json()
    assert api.http.put(  # made anew, and good
        repeated["upload"]["put"]["url"],
        content=IMAGE,
        headers=repeated["upload"]["put"]["headers"],
    ).is_success
    assert repeated.pop("upload")["tus"] == body.pop("upload")["tus"]
    assert repeated == body
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    other = reserve(api, alice, headers=key, caption="another")
    assert_problem(other, 422, "idempotency_key_reused")


@pytest.mark.same_code("rules of a body")
@pytest.mark.parametrize(
    ("image", "field"),
    [
        ({"size": 0}, "image.size"),
        ({"size": -5}, "image.size"),
        ({"size": "big"}, "image.size"),
        ({"content_type": "text/plain"}, "image.content_type"),
        ({"content_type": 7}, "image.content_type"),
        ({"sha256": "abc"}, "image.sha256"),
    ],
)
def test_a_wrong_announcement_names_the_field(api: Api, image: dict[str, Any], field: str) -> None:
    answer = reserve(api, someone(), image=image)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}


def test_what_is_missing_or_breaks_a_rule_is_named(api: Api) -> None:
    def refused(body: Any) -> set[str]:
        answer = api.send("POST", "/posts", someone(), json=body)
        return fields(assert_problem(answer, 422, "validation_failed"))

    assert refused({}) == {"image"}
    assert refused({"image": {"size": 5}}) == {"image.content_type"}
    assert refused([]) == {"body"}
    image = {"size": 5, "content_type": "image/png"}
    assert refused({"image": image, "caption": "x" * 5001}) == {"caption"}
    assert refused({"image": image, "alt": 7}) == {"alt"}


@pytest.mark.same_code("rules of a body")
@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ({"size": "big"}, "must be a whole number, not a string"),
        ({"size": 1.5}, "must be a whole number, not a number"),
        ({"size": True}, "must be a whole number, not true or false"),
        ({"size": 0}, "must be a whole number >= 1"),
        ({"sha256": 7}, "must be a string or null, not a whole number"),
        ({"sha256": "abc"}, "must be a string that matches '^[0-9A-Fa-f]{64}$'"),
        ({"content_type": ["image/png"]}, "must be a string, not an array"),
        ({"content_type": None}, "must be a string, not null"),
    ],
)
def test_a_wrong_type_is_named_as_json_names_it(
    api: Api, image: dict[str, Any], sentence: str
) -> None:
    (error,) = reserve(api, someone(), image=image).json()["errors"]
    assert error["detail"] == sentence


def test_a_wrong_type_in_the_query_is_named_so_too(api: Api) -> None:
    for field, value, sentence in (
        ("limit", "ten", "must be a whole number"),
        ("limit", "0", "must be a whole number >= 1"),
        ("sort", "best", "must be top or new"),
        ("status", "ready", "must be unfinished"),
    ):
        (error,) = api.get("/posts", params={field: value}).json()["errors"]
        assert (error["field"], error["detail"]) == (field, sentence)


def test_null_is_as_good_as_no_text(api: Api) -> None:
    """Reserving, repeating that, and editing (RFC 7396)."""
    alice, key = someone("alice"), {"idempotency-key": "null"}
    first = reserve(api, alice, headers=key, caption=None, alt=None)
    assert (first.status_code, first.json()["caption"], first.json()["alt"]) == (201, "", "")
    assert reserve(api, alice, headers=key, caption="").headers["idempotent-replayed"] == "true"
    path = first.headers["location"]
    edited = api.send("PATCH", path, alice, json={"caption": "a lake", "alt": "water"})
    assert edited.json()["caption"] == "a lake"
    edited = api.send("PATCH", path, alice, json={"caption": None})
    assert (edited.json()["caption"], edited.json()["alt"]) == ("", "water")


def test_a_media_type_is_the_same_in_capitals(api: Api) -> None:
    reserved = Reserved(api, image={"content_type": "IMAGE/JPEG"})
    assert reserved.post["upload"]["put"]["headers"]["content-type"] == "image/jpeg"
    assert reserved.put().is_success
    assert reserved.now()["status"] == "ready"


@pytest.mark.where(own_files=True)
@pytest.mark.parametrize("content_type", ["IMAGE/JPEG", "image/jpg", "image/jpeg; q=1"])
def test_a_put_may_name_its_format_as_clients_do(api: Api, content_type: str) -> None:
    reserved = Reserved(api)
    assert reserved.put(headers={"content-type": content_type}).status_code == 204


def test_other_refusals_of_a_reservation(api: Api) -> None:
    assert_problem(reserve(api, someone(), image={"size": 2_000_001}), 413, "upload_too_large")
    anonymous = api.http.post("/posts", json={"image": {}})
    api.assert_identity_required(anonymous)
    headers = {"content-type": "application/json"}
    for body in (b"{", b"\xff", b"[" * 100_000):
        answer = api.send("POST", "/posts", someone(), content=body, headers=headers)
        assert_problem(answer, 400, "invalid_json")
    answer = api.send("POST", "/posts", someone(), content=b" " * 300_000, headers=headers)
    assert_problem(answer, 413, "body_too_large")
