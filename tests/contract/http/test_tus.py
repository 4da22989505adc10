"""tus 1.0.0 (https://tus.io/protocols/resumable-upload). There is a test for each MUST and SHOULD
of the core protocol and of the advertised extensions; each names its place."""

import copy
import hashlib
import secrets
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone
from support.half_open import half_open_patch
from support.waiting import wait_until

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
IMAGE = samples.from_phone(6, 300, 200)
UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"


def b64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


class Upload:
    """One upload as its client sees it."""

    def __init__(
        self, api: Api, length: int | None = len(IMAGE), metadata: str | None = None
    ) -> None:
        self.api = api
        self.user = someone("alice")
        size = {"upload-defer-length": "1"} if length is None else {"upload-length": str(length)}
        headers = {} if metadata is None else {"upload-metadata": metadata}
        self.created = api.send("POST", "/uploads", self.user, headers={**TUS, **size, **headers})
        assert self.created.status_code == 201, self.created.text
        self.path = self.created.headers["location"]

    def seen_through(self, api: Api) -> "Upload":
        """The same upload, over connections of its own."""
        other = copy.copy(self)
        other.api = api
        return other

    @property
    def post_path(self) -> str:
        return self.path.replace("/uploads/", "/posts/")

    def head(self) -> httpx.Response:
        return self.api.send("HEAD", self.path, self.user, headers=TUS)

    def offset(self) -> int:
        return int(self.head().headers["upload-offset"])

    def patch(self, offset: int, content: bytes, **headers: str) -> httpx.Response:
        sent = {**PIECE, "upload-offset": str(offset), **headers}
        return self.api.send("PATCH", self.path, self.user, content=content, headers=sent)

    def post(self) -> dict[str, object]:
        return self.api.processed(self.post_path, self.user)


def assert_tus_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert_problem(answer, status, code)


# Core


def test_an_upload_in_pieces_becomes_one_post(api: Api) -> None:
    upload = Upload(api, metadata=f"caption {b64('Zoë')},alt {b64('a lake')}")
    assert upload.post()["status"] == "awaiting_upload"
    at = 0
    for piece in (IMAGE[:100], IMAGE[100:101], IMAGE[101:]):
        answer = upload.patch(at, piece)
        at += len(piece)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["upload-offset"] == str(at)
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert upload.offset() == at
    post = upload.post()
    assert (post["status"], post["caption"], post["alt"]) == ("ready", "Zoë", "a lake")
    assert api.get(f"{upload.post_path}/original", upload.user).content == IMAGE
    assert [shown["id"] for shown in api.feed(creator=upload.user)["posts"]] == [post["id"]]


def test_head_must_tell_offset_and_length_and_must_not_be_cached(api: Api) -> None:
    """Core, HEAD."""
    answer = Upload(api).head()
    assert answer.status_code == 200
    assert answer.headers["upload-offset"] == "0"
    assert answer.headers["upload-length"] == str(len(IMAGE))
    assert answer.headers["cache-control"] == "no-store"


def test_get_says_what_head_says(api: Api) -> None:
    """A caching proxy may ask with GET where its client asked with HEAD."""
    upload = Upload(api, metadata=f"caption {b64('Zoë')}")
    upload.patch(0, IMAGE[:100])
    head, got = upload.head(), api.get(upload.path, upload.user, headers=TUS)
    assert (got.status_code, got.content) == (204, b"")
    names = ("upload-offset", "upload-length", "upload-metadata", "upload-expires", "cache-control")
    assert [got.headers[name] for name in names] == [head.headers[name] for name in names]
    missing = api.get(f"/uploads/{UNKNOWN}", upload.user, headers=TUS)
    assert_tus_problem(missing, 404, "upload_not_found")


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_an_unknown_upload_is_404(api: Api, method: str) -> None:
    """Core, HEAD: SHOULD be 404, 410 or 403; PATCH: likewise."""
    for post_id in (UNKNOWN, "nonsense", "%2e%2e%2fetc%2fpasswd"[:6], "..%5C..%5Cetc"):
        headers = {**PIECE, "upload-offset": "0"}
        answer = api.send(method, f"/uploads/{post_id}", someone(), headers=headers)
        assert answer.status_code == 404
        assert "upload-offset" not in answer.headers  # Core, HEAD: MUST NOT


def test_somebody_elses_upload_is_not_there(api: Api) -> None:
    upload = Upload(api)
    answer = api.send("HEAD", upload.path, someone(), headers=TUS)
    assert answer.status_code == 404
    upload.user = someone("mallory")
    assert_tus_problem(upload.patch(0, IMAGE), 404, "upload_not_found")


def test_uploading_needs_an_identity(api: Api) -> None:
    headers = {**TUS, "upload-length": "10"}
    api.assert_identity_required(api.send("POST", "/uploads", headers=headers))


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1", ""])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_another_version_must_be_412_and_must_not_be_processed(
    api: Api, method: str, version: str | None
) -> None:
    """Core, Tus-Resumable and Tus-Version: the answer MUST include Tus-Version."""
    upload = Upload(api)
    path = "/uploads" if method == "POST" else upload.path
    headers = {"upload-length": "9", "upload-offset": "0", "content-type": PIECE["content-type"]}
    headers |= {} if version is None else {"tus-resumable": version}
    answer = api.send(method, path, upload.user, headers=headers)
    assert answer.status_code == 412
    assert answer.headers["tus-version"] == "1.0.0"
    assert upload.offset() == 0


@pytest.mark.parametrize("content_type", ["application/octet-stream", "image/jpeg", ""])
def test_patch_must_have_its_content_type(api: Api, content_type: str) -> None:
    """Core, PATCH: SHOULD be 415."""
    upload = Upload(api)
    answer = upload.patch(0, IMAGE, **{"content-type": content_type})
    assert_tus_problem(answer, 415, "unsupported_media_type")
    assert upload.offset() == 0


@pytest.mark.parametrize("offset", [1, 99, 10**17])
def test_another_offset_must_be_409_and_must_not_modify_the_upload(api: Api, offset: int) -> None:
    """Core, PATCH."""
    upload = Upload(api)
    assert_tus_problem(upload.patch(offset, IMAGE[offset:]), 409, "offset_mismatch")
    assert upload.offset() == 0


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize("offset", ["٣", "", "-1", "1.0", "x", "0x1", "9" * 30])
def test_an_offset_that_is_no_number_is_400(api: Api, offset: str) -> None:
    """Core, Upload-Offset: MUST be a non-negative integer."""
    upload = Upload(api)
    headers = {b"upload-offset": offset.encode()}
    sent = {**{key.encode(): value.encode() for key, value in PIECE.items()}, **headers}
    sent[b"user-id"] = upload.user.encode()
    answer = api.http.patch(upload.path, headers=sent, content=IMAGE)
    assert_tus_problem(answer, 400, "invalid_tus_request")


def test_a_patch_without_offset_is_400(api: Api) -> None:
    upload = Upload(api)
    answer = api.send("PATCH", upload.path, upload.user, content=IMAGE, headers=PIECE)
    assert_tus_problem(answer, 400, "invalid_tus_request")


def test_more_bytes_than_announced_are_413(api: Api) -> None:
    upload = Upload(api)
    assert_tus_problem(upload.patch(0, IMAGE + b"x"), 413, "upload_too_large")
    assert upload.offset() == 0

    def pieces() -> Iterator[bytes]:
        yield IMAGE
        yield b"x"

    sent = {**PIECE, "upload-offset": "0", "user-id": upload.user}
    answer = api.http.patch(upload.path, headers=sent, content=pieces())
    if answer.status_code != 204:  # both in one piece of the network's, or not
        assert_tus_problem(answer, 413, "upload_too_large")
    assert upload.offset() <= len(IMAGE)


def test_an_empty_patch_at_the_end_is_204_and_completes_nothing_twice(api: Api) -> None:
    upload = Upload(api)
    upload.patch(0, IMAGE)
    before = upload.post()
    for _ in range(2):
        answer = upload.patch(len(IMAGE), b"")
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(IMAGE)))
    assert upload.post() == before
    assert upload.offset() == len(IMAGE)
    assert_tus_problem(upload.patch(0, IMAGE[:-1]), 409, "offset_mismatch")
    assert_tus_problem(upload.patch(len(IMAGE), b"x"), 413, "upload_too_large")


@pytest.mark.parametrize("start", [0, 100])
def test_the_last_piece_again_is_204_and_completes_nothing_twice(api: Api, start: int) -> None:
    """Its answer was lost. (The protocol has 409 for that; see `tus.repeats_the_end`.)"""
    upload = Upload(api)
    if start:
        upload.patch(0, IMAGE[:start])
    for _ in range(3):
        answer = upload.patch(start, IMAGE[start:])
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(IMAGE)))
    assert upload.post()["status"] == "ready"
    assert upload.patch(start, IMAGE[start:]).status_code == 204
    assert api.get(f"{upload.post_path}/original", upload.user).content == IMAGE
    assert len(api.feed(creator=upload.user)["posts"]) == 1


def test_options_should_tell_what_the_server_can(api: Api) -> None:
    """Core, OPTIONS: SHOULD be 204 or 200, MUST have Tus-Version, MAY have the rest."""
    for path in ("/uploads", f"/uploads/{UNKNOWN}"):
        answer = api.send("OPTIONS", path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert set(answer.headers["tus-extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "expiration",
            "termination",
            "checksum",
        }
        assert answer.headers["tus-max-size"] == "2000000"
        assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"


def test_the_method_can_be_overridden(api: Api) -> None:
    """Core, X-HTTP-Method-Override: MUST be interpreted, the actual method MUST be ignored."""
    upload = Upload(api)
    override = {**PIECE, "upload-offset": "0", "x-http-method-override": "PATCH"}
    answer = api.send("POST", upload.path, upload.user, content=IMAGE[:9], headers=override)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "9")
    head = {**TUS, "x-http-method-override": "HEAD"}
    assert api.send("POST", upload.path, upload.user, headers=head).headers["upload-offset"] == "9"
    delete = {**TUS, "x-http-method-override": "DELETE"}
    assert api.send("POST", upload.path, upload.user, headers=delete).status_code == 204


def test_pages_may_read_the_headers(api: Api) -> None:
    answer = api.send("OPTIONS", "/limits", headers={"origin": "http://localhost:1"})
    answer = api.get("/limits", headers={"origin": "http://localhost:1"})
    exposed = set(answer.headers["access-control-expose-headers"].lower().split(", "))
    assert {"upload-offset", "upload-length", "location", "tus-resumable"} <= exposed


# Creation


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize("length", ["", "-1", "1.5", "ten", "9" * 30])
def test_a_length_that_is_no_number_is_400(api: Api, length: str) -> None:
    """Creation, Upload-Length: MUST be a non-negative integer."""
    headers = {**TUS, "upload-length": length}
    answer = api.send("POST", "/uploads", someone(), headers=headers)
    assert_tus_problem(answer, 400, "invalid_tus_request")


def test_creation_needs_a_length_or_its_deferral_not_both(api: Api) -> None:
    """Creation, POST and Upload-Defer-Length: its value can only be 1, otherwise SHOULD be 400."""
    for headers in (
        {},
        {"upload-defer-length": "2"},
        {"upload-length": "1", "upload-defer-length": "1"},
        {"upload-length": "0"},
    ):
        answer = api.send("POST", "/uploads", someone(), headers={**TUS, **headers})
        assert_tus_problem(answer, 400, "invalid_tus_request")


def test_a_length_over_the_maximum_must_be_413(api: Api) -> None:
    """Creation, POST: Tus-Max-Size."""
    headers = {**TUS, "upload-length": "2000001"}
    answer = api.send("POST", "/uploads", someone(), headers=headers)
    assert_tus_problem(answer, 413, "upload_too_large")


def test_creation_must_be_201_with_location(api: Api) -> None:
    """Creation, POST."""
    upload = Upload(api)
    assert upload.path.startswith("/uploads/")
    assert upload.created.headers["upload-offset"] == "0"


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize(
    "metadata",
    [
        "ümlaut Zm9v",
        "caption !!!",
        "caption Zm9v,caption Zm9v",
        ",",
        "caption Zm9v,",
        f"filename {b64('x' * 6145)}",
        "caption Zm9v Zm9v",
    ],
)
def test_malformed_or_overlong_metadata_is_refused(api: Api, metadata: str) -> None:
    """Creation, Upload-Metadata: keys non-empty, ASCII, unique; values Base64."""
    sent = {b"tus-resumable": b"1.0.0", b"upload-length": b"9", b"user-id": b"alice"}
    sent[b"upload-metadata"] = metadata.encode()
    assert_tus_problem(api.http.post("/uploads", headers=sent), 400, "invalid_tus_request")


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ("caption Zm9,alt Zm9v", "Upload-Metadata: caption is Base64 without its padding"),
        ("caption _w==", "URL-safe"),
        ("caption Zm9v,", "comma"),
        ("alt Zm9v,alt Zm9v", "the key alt twice"),
        (f"caption {b64('x' * 6145)}", "reserve the post with POST /posts"),
    ],
)
def test_the_sentence_names_what_is_wrong_with_metadata(
    api: Api, metadata: str, sentence: str
) -> None:
    headers = {**TUS, "upload-length": "9", "upload-metadata": metadata}
    answer = api.send("POST", "/uploads", someone(), headers=headers)
    assert sentence in assert_problem(answer, 400, "invalid_tus_request")["detail"]


def test_metadata_may_have_8_kb(api: Api) -> None:
    metadata = f"filename {b64('x' * 6120)}"
    assert Upload(api, metadata=metadata).head().headers["upload-metadata"] == metadata


@pytest.mark.same_code("rules of a text")
@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        (f"caption {b64(b'x' * 5001)}", "caption"),
        (f"alt {b64(b'a' + bytes(1))}", "alt"),
        (f"caption {b64(bytes([255]))}", "caption"),
    ],
)
def test_metadata_that_breaks_a_rule_names_the_field(api: Api, metadata: str, field: str) -> None:
    headers = {**TUS, "upload-length": "9", "upload-metadata": metadata}
    answer = api.send("POST", "/uploads", someone(), headers=headers)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}


def test_head_must_give_the_metadata_back_as_it_was(api: Api) -> None:
    """Creation, Upload-Metadata; a value MAY be empty."""
    metadata = f"filename {b64('a.jpg')},is_confidential,filetype {b64('image/jpeg')}"
    upload = Upload(api, metadata=metadata)
    assert upload.head().headers["upload-metadata"] == metadata
    assert "upload-metadata" not in Upload(api).head().headers


def test_creation_with_upload_takes_the_first_bytes(api: Api) -> None:
    """Creation With Upload: MUST have Upload-Offset in the answer."""
    alice = someone("alice")
    headers = {**PIECE, "upload-length": str(len(IMAGE))}
    first = api.send("POST", "/uploads", alice, content=IMAGE[:200], headers=headers)
    assert (first.status_code, first.headers["upload-offset"]) == (201, "200")
    created = api.send("POST", "/uploads", alice, content=IMAGE, headers=headers)
    assert created.headers["upload-offset"] == str(len(IMAGE))
    path = created.headers["location"].replace("uploads", "posts")
    assert api.processed(path, alice)["status"] == "ready"


def test_a_deferred_length_is_told_later_and_never_changed(api: Api) -> None:
    """Creation Defer Length: HEAD MUST have Upload-Defer-Length until it is set."""
    upload = Upload(api, None)
    assert upload.head().headers["upload-defer-length"] == "1"
    assert "upload-length" not in upload.head().headers
    upload.patch(0, IMAGE[:100])
    too_small = upload.patch(100, b"", **{"upload-length": "99"})
    assert_tus_problem(too_small, 400, "invalid_tus_request")
    upload.patch(100, IMAGE[100:150], **{"upload-length": str(len(IMAGE))})
    assert upload.head().headers["upload-length"] == str(len(IMAGE))
    assert "upload-defer-length" not in upload.head().headers
    changed = upload.patch(150, b"", **{"upload-length": str(len(IMAGE) + 1)})
    assert_tus_problem(changed, 400, "invalid_tus_request")
    upload.patch(150, IMAGE[150:])
    assert upload.post()["status"] == "ready"


def test_a_deferred_upload_may_end_with_an_empty_patch(api: Api) -> None:
    upload = Upload(api, None)
    upload.patch(0, IMAGE)
    assert upload.post()["status"] == "awaiting_upload"
    assert upload.patch(len(IMAGE), b"", **{"upload-length": str(len(IMAGE))}).is_success
    assert upload.post()["status"] == "ready"


def test_a_deferred_length_has_a_maximum_too(api: Api) -> None:
    upload = Upload(api, None)
    answer = upload.patch(0, IMAGE, **{"upload-length": "2000001"})
    assert_tus_problem(answer, 413, "upload_too_large")


# Checksum


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_that_matches_its_checksum_is_kept(api: Api, algorithm: str) -> None:
    """Checksum: sha1 MUST be supported."""
    upload = Upload(api)
    for start, stop in ((0, 100), (100, len(IMAGE))):
        piece = IMAGE[start:stop]
        digest = b64(hashlib.new(algorithm, piece).digest())
        answer = upload.patch(start, piece, **{"upload-checksum": f"{algorithm} {digest}"})
        assert answer.status_code == 204
    assert upload.post()["status"] == "ready"


def test_a_piece_that_does_not_match_must_be_discarded_with_460(api: Api) -> None:
    """Checksum."""
    upload = Upload(api)
    upload.patch(0, IMAGE[:100])
    digest = b64(hashlib.sha1(b"other").digest())  # noqa: S324 - the protocol's
    answer = upload.patch(100, IMAGE[100:], **{"upload-checksum": f"sha1 {digest}"})
    assert_tus_problem(answer, 460, "checksum_mismatch")
    assert upload.offset() == 100
    upload.patch(100, IMAGE[100:])
    assert upload.post()["status"] == "ready"


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize("concat", ["partial", "final;/uploads/a /uploads/b", ""])
def test_parallel_uploads_are_refused_at_creation(api: Api, concat: str) -> None:
    """Concatenation is not among the extensions; a client that goes ahead is told at once."""
    alice = someone("alice")
    headers = {**TUS, "upload-length": "9", "upload-concat": concat}
    answer = api.send("POST", "/uploads", alice, headers=headers)
    assert_tus_problem(answer, 400, "concatenation_unsupported")


@pytest.mark.parametrize("kind", ["checksum", "offset"])
def test_an_upload_that_had_too_many_refused_bytes_is_ended(api: Api, kind: str) -> None:
    """More than an image may have: 2 MB here."""
    upload, piece = Upload(api, 1_500_000), (IMAGE + bytes(900_000))[:900_000]
    wrong = {"upload-checksum": f"sha256 {b64(bytes(32))}"} if kind == "checksum" else {}
    offset, status = (0, 460) if kind == "checksum" else (5, 409)
    for _ in range(2):
        assert upload.patch(offset, piece, **wrong).status_code == status
    assert upload.offset() == 0
    assert upload.patch(offset, piece, **wrong).status_code in (410, status)
    # The service counts bytes that it reads after its answer only after that answer.
    wait_until(lambda: upload.head().status_code == 410)
    assert_tus_problem(upload.patch(0, piece), 410, "upload_gone")
    assert api.get(upload.post_path, upload.user).status_code == 404


@pytest.mark.same_code("parsing of headers")
@pytest.mark.parametrize("checksum", ["md5 Zm9v", "sha1", "sha1 ???", "", "sha256 AAAA"])
def test_a_checksum_that_is_not_understood_is_400(api: Api, checksum: str) -> None:
    """Checksum: an algorithm that is not supported MUST be 400."""
    upload = Upload(api)
    answer = upload.patch(0, IMAGE, **{"upload-checksum": checksum})
    assert_tus_problem(answer, 400, "invalid_tus_request")
    assert upload.offset() == 0


# Expiration, Termination


def test_creation_and_patch_tell_when_the_upload_expires(api: Api) -> None:
    """Expiration, Upload-Expires: MUST be in RFC 9110's format."""
    from email.utils import parsedate_to_datetime

    upload = Upload(api)
    for answer in (upload.created, upload.patch(0, IMAGE[:9]), upload.head()):
        seconds_left = (
            parsedate_to_datetime(answer.headers["upload-expires"]).timestamp() - time.time()
        )
        assert 86_000 < seconds_left <= 86_400
        assert answer.headers["upload-expires"].endswith(" GMT")


def test_a_terminated_upload_must_be_204_then_404_or_410(api: Api) -> None:
    """Termination."""
    upload = Upload(api)
    upload.patch(0, IMAGE[:100])
    answer = api.send("DELETE", upload.path, upload.user, headers=TUS)
    assert (answer.status_code, answer.headers["tus-resumable"]) == (204, "1.0.0")
    assert upload.head().status_code == 410
    assert_tus_problem(upload.patch(100, IMAGE[100:]), 410, "upload_gone")
    assert_problem(api.get(upload.post_path, upload.user), 404, "post_not_found")


def test_a_complete_upload_is_terminated_too_and_that_is_the_post(api: Api) -> None:
    """Termination: of completed and unfinished uploads, MUST be 204."""
    upload = Upload(api)
    upload.patch(0, IMAGE)
    assert upload.post()["status"] == "ready"
    assert_problem(
        api.send("DELETE", upload.path, someone("mallory"), headers=TUS), 404, "upload_not_found"
    )
    for _ in range(2):  # also when the first answer was lost
        answer = api.send("DELETE", upload.path, upload.user, headers=TUS)
        assert (answer.status_code, answer.headers["tus-resumable"]) == (204, "1.0.0")
    assert upload.head().status_code == 410
    assert_problem(api.get(upload.post_path, upload.user), 404, "post_not_found")
    assert api.feed(creator=upload.user)["posts"] == []


def test_a_post_that_never_was_an_upload_is_none(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    answer = api.send("DELETE", f"/uploads/{post['id']}", alice, headers=TUS)
    assert_tus_problem(answer, 404, "upload_not_found")
    assert api.get(f"/posts/{post['id']}").status_code == 200


def test_an_upload_whose_post_was_deleted_is_gone(api: Api) -> None:
    upload = Upload(api)
    upload.patch(0, IMAGE)
    assert api.send("DELETE", upload.post_path, upload.user).status_code == 204
    assert upload.head().status_code == 410


def test_an_awaiting_post_can_be_deleted(api: Api) -> None:
    upload = Upload(api)
    upload.patch(0, IMAGE[:100])
    assert api.send("DELETE", upload.post_path, upload.user).status_code == 204
    assert upload.head().status_code == 410


# What the protocol leaves to us


def test_what_is_no_image_is_refused_at_its_first_bytes(api: Api) -> None:
    upload = Upload(api, 1000)
    assert_tus_problem(upload.patch(0, b"no image" * 100), 415, "unsupported_image")
    assert upload.offset() == 0


def test_the_same_key_gives_the_same_upload(api: Api) -> None:
    key = {"idempotency-key": secrets.token_hex(8)}
    alice = someone("alice")
    headers = {**TUS, "upload-length": str(len(IMAGE)), **key}
    first = api.send("POST", "/uploads", alice, headers=headers)
    api.send(
        "PATCH",
        first.headers["location"],
        alice,
        content=IMAGE[:50],
        headers={**PIECE, "upload-offset": "0"},
    )
    again = api.send("POST", "/uploads", alice, headers=headers)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.headers["upload-offset"]) == (201, "50")
    other = {**headers, "upload-length": "9"}
    answer = api.send("POST", "/uploads", alice, headers=other)
    assert_tus_problem(answer, 422, "idempotency_key_reused")


def cut_patch(upload: Upload, content: bytes, *, whole: int) -> socket.socket:
    """A PATCH that announces `whole` bytes and sends `content`; its connection stays open."""
    return half_open_patch(upload.api.url, upload.path, upload.user, content, whole=whole)


@pytest.mark.where(streams=True)
def test_every_byte_before_a_cut_is_kept(api: Api) -> None:
    upload = Upload(api)
    connection = cut_patch(upload, IMAGE[:1234], whole=len(IMAGE))
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):  # until the server has let go of it
        pass
    connection.close()
    assert upload.offset() == 1234
    upload.patch(1234, IMAGE[1234:])
    assert upload.post()["status"] == "ready"
    assert api.get(f"{upload.post_path}/original", upload.user).content == IMAGE


def half_open(api: Api) -> tuple[Upload, socket.socket, int]:
    """An upload with a PATCH that stalled after 1000 bytes, taken over by HEAD; its offset then.

    HEAD may come before the first byte was read, and then rightly finds nothing: so, again.
    """
    for attempt in range(20):
        upload = Upload(api)
        connection = cut_patch(upload, IMAGE[:1000], whole=len(IMAGE))
        time.sleep(0.01 * attempt)
        at = upload.offset()
        if at:
            return upload, connection, at
        connection.close()
    raise AssertionError("no byte ever arrived")


@pytest.mark.where(streams=True)
def test_head_takes_a_half_open_upload_over_and_the_loser_is_told(api: Api) -> None:
    upload, connection, at = half_open(api)
    with connection:
        assert at == 1000
        response = connection.recv(4096)
        while b"upload_taken_over" not in response and (more := connection.recv(4096)):
            response += more
        assert response.startswith(b"HTTP/1.1 409 ")
        assert b"upload_taken_over" in response
        connection.sendall(IMAGE[1000:1500])  # the loser's bytes are never written
    assert upload.patch(1000, IMAGE[1000:2000]).status_code == 204
    assert upload.offset() == 2000
    upload.patch(2000, IMAGE[2000:])
    assert upload.post()["status"] == "ready"
    assert api.get(f"{upload.post_path}/original", upload.user).content == IMAGE


def test_many_patches_at_once_end_in_the_same_bytes_and_one_post(api: Api) -> None:
    upload = Upload(api)
    stop = threading.Event()

    def push(_: int) -> None:
        with Api(api.url, api.edition) as own:
            mine = upload.seen_through(own)
            while not stop.is_set():
                at = int(mine.head().headers["upload-offset"])
                if at == len(IMAGE):
                    return
                mine.patch(at, IMAGE[at : at + 700])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push, range(4)))
    assert upload.post()["status"] == "ready"
    assert api.get(f"{upload.post_path}/original", upload.user).content == IMAGE
    assert len(api.feed(creator=upload.user)["posts"]) == 1
