"""Wrong uploads: each is refused early, clearly, and leaves nothing behind."""

import gzip
import socket
from base64 import b64encode
from urllib.parse import urlsplit

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone

TUS = {"tus-resumable": "1.0.0"}
TOO_MANY = 2_000_001
BOUNDARY = "b0undary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, content: bytes, file_name: str | None = None, **more: str) -> bytes:
    """One part of a form, as on the wire, with `more` headers."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name else "")
    others = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{others}\r\n"
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post_form(api: Api, body: bytes, user: str | None = None) -> httpx.Response:
    return api.send("POST", "/posts", user or someone(), content=body, headers=FORM)


def test_a_form_without_a_image_is_told_so(api: Api) -> None:
    answer = post_form(api, form(part("caption", b"no image")))
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"image"}


def test_an_empty_image_is_told_so(api: Api) -> None:
    answer = post_form(api, form(part("image", b"", "a.jpg")))
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"image"}


def test_two_images_are_one_too_many(api: Api) -> None:
    image = part("image", samples.jpeg(), "a.jpg")
    answer = post_form(api, form(image, image))
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"image"}


def test_texts_may_come_before_or_after_the_image_and_others_are_ignored(api: Api) -> None:
    image, other = part("image", samples.jpeg(), "a.jpg"), part("token", b"x")
    body = form(part("alt", b"before"), other, image, part("caption", "später".encode()))
    post = post_form(api, body).json()
    assert (post["alt"], post["caption"]) == ("before", "später")


@pytest.mark.same_code("sniffing of formats")
@pytest.mark.parametrize(
    "content",
    [b"plain text that is long enough to be judged " * 3, b"x", b"%PDF-1.7 ...", b"<svg/>" * 20],
)
def test_what_is_no_image_is_refused_by_its_content(api: Api, content: bytes) -> None:
    answer = api.upload(someone(), content)
    assert_problem(answer, 415, "unsupported_image")


def test_the_name_of_a_file_is_never_believed(api: Api) -> None:
    body = form(part("image", samples.encoded(samples.corners(), "PNG"), "evil.exe"))
    assert post_form(api, body).status_code == 201


@pytest.mark.where(streams=True)
def test_too_many_declared_bytes_are_refused_before_they_are_sent(api: Api) -> None:
    address = urlsplit(api.url)
    head = (
        f"POST /posts HTTP/1.1\r\nHost: {address.netloc}\r\nuser-id: {someone()}\r\n"
        f"Content-Type: {FORM['content-type']}\r\nContent-Length: 900000000\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_too_many_bytes_are_refused_though_none_were_declared(api: Api) -> None:
    image = samples.jpeg() + bytes(TOO_MANY)
    body = form(part("image", image, "a.jpg"))
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    answer = api.http.post("/posts", headers={**FORM, "user-id": someone()}, content=pieces)
    assert_problem(answer, 413, "upload_too_large")


def test_too_many_declared_bytes_get_their_answer_though_all_are_sent(api: Api) -> None:
    answer = api.upload(someone(), samples.jpeg() + bytes(30_000_000))
    assert_problem(answer, 413, "upload_too_large")


def test_a_image_of_just_the_limit_is_taken(api: Api) -> None:
    image = samples.jpeg()
    assert api.upload(someone(), image + bytes(2_000_000 - len(image))).status_code == 201


@pytest.mark.same_code("parsing of forms")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        form(part("image", samples.jpeg(), "a.jpg"))[:-20],
        part("image", samples.jpeg(), "a.jpg"),
        f"--{BOUNDARY}\r\nnonsense\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
    ],
)
def test_a_broken_form_is_told_so(api: Api, body: bytes) -> None:
    assert_problem(post_form(api, body), 400, "invalid_multipart")


def caption_of(api: Api, *parts: bytes) -> httpx.Response:
    """The answer to a form of an image and these parts."""
    return post_form(api, form(part("image", samples.jpeg(), "a.jpg"), *parts))


@pytest.mark.same_code("parsing of forms")
@pytest.mark.parametrize(
    ("content", "headers"),
    [
        ("Zoë".encode("latin-1"), {"content_type": "text/plain; charset=ISO-8859-1"}),
        ("Zoë".encode("utf-16"), {"content_type": 'text/plain; charset="utf-16"'}),
        ("Zoë".encode(), {"content_type": "text/plain; charset=UTF-8"}),
        (b64encode("Zoë".encode()), {"content_transfer_encoding": "base64"}),
        (b"Zo=C3=AB", {"content_transfer_encoding": "Quoted-Printable"}),
        (
            b"Zo=EB",
            {
                "content_transfer_encoding": "quoted-printable",
                "content_type": "text/plain; charset=windows-1252",
            },
        ),
        ("Zoë".encode(), {"content_transfer_encoding": "8bit"}),
    ],
)
def test_texts_are_decoded_from_what_their_part_says(
    api: Api, content: bytes, headers: dict[str, str]
) -> None:
    """RFC 7578 sections 4.4 and 4.7."""
    assert caption_of(api, part("caption", content, **headers)).json()["caption"] == "Zoë"


@pytest.mark.same_code("parsing of forms")
@pytest.mark.parametrize("charset", ["utf-8", "utf-16"])
def test_half_of_a_surrogate_pair_in_a_form_is_named(api: Api, charset: str) -> None:
    text = "a\ud83d".encode(charset, "surrogatepass")
    answer = caption_of(api, part("caption", text, content_type=f"text/plain; charset={charset}"))
    problem = assert_problem(answer, 422, "validation_failed")
    assert fields(problem) == {"caption"}
    assert "U+D83D" in problem["errors"][0]["detail"]


def test_a_form_may_name_the_charset_of_its_texts(api: Api) -> None:
    """RFC 7578 section 4.6."""
    text = part("caption", "Zoë".encode("latin-1"))
    answer = caption_of(api, text, part("_charset_", b"iso-8859-1"))
    assert answer.json()["caption"] == "Zoë"


@pytest.mark.same_code("parsing of forms")
@pytest.mark.parametrize(
    ("content", "headers", "sentence"),
    [
        (b"x", {"content_type": "text/plain; charset=unicode_escape"}, "'unicode_escape'"),
        (b"+AOs-", {"content_type": "text/plain; charset=utf-7"}, "send it in UTF-8"),
        (b"x", {"content_transfer_encoding": "x-gzip"}, "x-gzip"),
        (b"???", {"content_transfer_encoding": "base64"}, "is not valid base64"),
        (b"\xff", {}, "must be UTF-8"),
    ],
)
def test_texts_that_cannot_be_decoded_are_refused(
    api: Api, content: bytes, headers: dict[str, str], sentence: str
) -> None:
    answer = caption_of(api, part("caption", content, **headers))
    (error,) = assert_problem(answer, 422, "validation_failed")["errors"]
    assert error["field"] == "caption"
    assert sentence in error["detail"]


def test_an_image_in_a_transfer_encoding_is_told_so(api: Api) -> None:
    """The bytes would be judged as no image, which does not say what to change."""
    image = part("image", b64encode(samples.jpeg()), "a.jpg", content_transfer_encoding="base64")
    (error,) = assert_problem(post_form(api, form(image)), 422, "validation_failed")["errors"]
    assert "send its bytes as they are" in error["detail"]


def test_more_than_16_parts_are_told_so(api: Api) -> None:
    answer = caption_of(api, *(part(f"part{number}", b"x") for number in range(16)))
    assert "more than 16 parts" in assert_problem(answer, 400, "invalid_multipart")["detail"]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "MULTIPART/form-data; boundary="])
def test_a_form_without_a_boundary_is_told_so(api: Api, content_type: str) -> None:
    answer = api.send(
        "POST", "/posts", someone(), content=b"x", headers={"content-type": content_type}
    )
    assert "boundary" in assert_problem(answer, 400, "invalid_multipart")["detail"]


@pytest.mark.same_code("choice of the parser")
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "image/jpeg"]
)
def test_another_content_type_is_told_what_to_send(api: Api, content_type: str) -> None:
    answer = api.send(
        "POST", "/posts", someone(), content=b"x", headers={"content-type": content_type}
    )
    detail = assert_problem(answer, 415, "unsupported_media_type")["detail"]
    assert "multipart/form-data" in detail
    assert "application/json" in detail


@pytest.mark.parametrize(
    ("method", "path", "content_type"),
    [
        ("POST", "/posts", "application/json"),
        ("POST", "/posts", "multipart/form-data; boundary=b"),
        ("POST", "/comments", "application/json"),
        ("PATCH", "/posts/ID", "application/json"),
        ("POST", "/uploads", "application/offset+octet-stream"),
        ("PATCH", "/uploads/ID", "application/offset+octet-stream"),
        pytest.param("PUT", "PUT", "image/jpeg", marks=pytest.mark.where(own_files=True)),
    ],
)
def test_a_compressed_body_is_refused_and_not_kept_as_it_came(
    api: Api, method: str, path: str, content_type: str
) -> None:
    alice, image = someone("alice"), {"size": 100, "content_type": "image/jpeg"}
    post = api.send("POST", "/posts", alice, json={"image": image}).json()
    path = post["upload"]["put"]["url"] if path == "PUT" else path.replace("ID", post["id"])
    sent = {"content-type": content_type, "content-encoding": "gzip", **TUS}
    answer = api.send(method, path, alice, content=gzip.compress(b"x"), headers=sent)
    assert "Content-Encoding" in assert_problem(answer, 415, "unsupported_media_type")["detail"]


@pytest.mark.same_code("rules of a text")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("caption", b"x" * 5001),
        ("caption", b"x" * 70_000),
        ("alt", b"x" * 1501),
        ("caption", b"\xff\xfe"),
        ("alt", b"bell\x00"),
    ],
)
def test_a_text_that_breaks_a_rule_is_named_and_nothing_is_posted(
    api: Api, name: str, text: bytes
) -> None:
    alice = someone("alice")
    answer = post_form(api, form(part("image", samples.jpeg(), "a.jpg"), part(name, text)), alice)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {name}
    assert api.feed(creator=alice)["posts"] == []


def test_a_cut_upload_leaves_nothing_and_harms_nobody(api: Api) -> None:
    alice = someone("alice")
    address = urlsplit(api.url)
    body = form(part("image", samples.jpeg(600, 400), "a.jpg"))
    head = (
        f"POST /posts HTTP/1.1\r\nHost: {address.netloc}\r\nuser-id: {alice}\r\n"
        f"Content-Type: {FORM['content-type']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
    post = api.ready(alice)
    assert [shown["id"] for shown in api.feed(creator=alice)["posts"]] == [post["id"]]
