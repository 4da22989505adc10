"""Limits of one caller, against real servers."""

import re
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, assert_problem, fields
from support.servers import LOCAL, local_server, start
from support.shell import Shell
from support.waiting import wait_for_midnight_if_near, wait_for_value, wait_until

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
ID = "01K00000000000000000000000"
NO_POST, NO_UPLOAD = f"/posts/{ID}", f"/uploads/{ID}"
_numbers = count(1)


def limited(answer: httpx.Response, limit: str) -> int:
    """The answer says that it was this limit; after how many seconds one may come again."""
    problem = assert_problem(answer, 429, "rate_limited")
    wait = int(answer.headers["retry-after"])
    assert wait >= 1
    assert problem["detail"]
    assert answer.headers["ratelimit"] == f'"{limit}";r=0;t={wait}'
    assert answer.headers["ratelimit-policy"].startswith(f'"{limit}";q=')
    return wait


def reserve(api: Api, size: int, user: str = "alice", **parts: Any) -> httpx.Response:
    image = {"image": {"size": size, "content_type": "image/jpeg"}}
    return api.send("POST", "/posts", user, json=image, **parts)


@pytest.fixture
def few_writes(tmp_path: Path) -> Iterator[Api]:
    flags = ("--writes-per-minute", "4")
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        yield api


@pytest.fixture(scope="module")
def few_requests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Twenty a minute from an address; who sends X-Forwarded-For is somebody else."""
    flags = ("--requests-per-minute", "20", "--trusted-proxies", "127.0.0.1")
    with (
        local_server(tmp_path_factory.mktemp("data"), *flags) as server,
        Api(server.url, LOCAL_EDITION) as api,
    ):
        yield api


@pytest.mark.quick
def test_writes_of_one_user_are_limited_and_those_of_others_and_reads_are_not(
    few_writes: Api,
) -> None:
    api = few_writes
    size = {**TUS, "upload-length": "1000"}
    path = api.send("POST", "/uploads", "alice", headers=size).headers["location"]
    for method in ("PATCH", "DELETE"):
        assert api.send(method, NO_POST, "alice", json={"caption": "x"}).status_code == 404
    assert reserve(api, 10).status_code == 201
    writes: tuple[Callable[[], httpx.Response], ...] = (
        lambda: reserve(api, 10, headers={"origin": "http://localhost:1"}),
        lambda: api.upload("alice"),
        lambda: api.send("POST", "/uploads", "alice", headers=size),
        lambda: api.send("DELETE", path, "alice", headers=TUS),
        lambda: api.send("POST", f"{NO_POST}/comments", "alice", json={"content": "x"}),
    )
    for write in writes:
        assert limited(write(), "writes_per_minute") <= 120
    assert (
        "Retry-After"
        in reserve(api, 10, headers={"origin": "http://localhost:1"}).headers[
            "access-control-expose-headers"
        ]
    )
    assert api.get("/posts", "alice").status_code == 200
    assert api.send("HEAD", path, "alice", headers=TUS).status_code == 200
    assert reserve(api, 10, "bob").status_code == 201


def test_an_upload_goes_on_whatever_its_user_has_written(few_writes: Api) -> None:
    """Tus clients give an upload up at a 429."""
    api, image = few_writes, samples.jpeg()
    reserved = reserve(api, len(image)).json()["upload"]["tus"]
    while reserve(api, 10).status_code != 429:
        pass
    for at in range(len(image)):
        sent = {**PIECE, "upload-offset": str(at)}
        last = at >= 20
        content = image[at:] if last else image[at : at + 1]
        assert api.send("PATCH", reserved, "alice", content=content, headers=sent).is_success
        assert api.send("HEAD", reserved, "alice", headers=TUS).status_code == 200
        if last:
            break
    post = api.processed(reserved.replace("uploads", "posts"), "alice")
    assert post["status"] == "ready"


def test_a_days_bytes_are_booked_ahead_given_back_and_outlive_a_crash(tmp_path: Path) -> None:
    wait_for_midnight_if_near()
    flags = ("--data-dir", str(tmp_path), "--bytes-per-day", "1000", "--image-bytes", "700")
    server = start(LOCAL, *flags)
    with Api(server.url, LOCAL_EDITION) as api:
        post = reserve(api, 600).json()
        assert limited(reserve(api, 401), "bytes_per_day") <= 24 * 3600
        assert reserve(api, 400, headers={"idempotency-key": "k"}).status_code == 201
        assert reserve(api, 400, headers={"idempotency-key": "k"}).status_code == 201  # a repeat
        server.kill()
    server = start(LOCAL, *flags)
    with Api(server.url, LOCAL_EDITION) as api:
        limited(reserve(api, 1), "bytes_per_day")
        limited(api.upload("alice", b"\xff\xd8\xff" + b"x" * 100), "bytes_per_day")
        assert api.send("DELETE", f"/posts/{post['id']}", "alice").status_code == 204
        unknown = {**TUS, "upload-defer-length": "1"}
        limited(api.send("POST", "/uploads", "alice", headers=unknown), "bytes_per_day")
        assert reserve(api, 600).status_code == 201
        assert reserve(api, 600, "bob").status_code == 201
        server.stop()


def test_a_form_costs_its_images_bytes(tmp_path: Path) -> None:
    wait_for_midnight_if_near()
    image = samples.jpeg()
    flags = ("--bytes-per-day", str(2 * len(image) + 600), "--uploads-under-way", "1")
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        for _ in range(2):
            assert api.upload("alice", image).status_code == 201
        limited(api.upload("alice", image), "bytes_per_day")
        left = 2 * len(image) + 600 - 2 * len(image)
        limited(reserve(api, left + 1), "bytes_per_day")
        assert reserve(api, left).status_code == 201
        limited(reserve(api, 1, "alice"), "uploads_under_way")
        limited(api.upload("alice", image), "uploads_under_way")


def test_requests_from_an_address_are_limited_but_for_images_and_uploads(tmp_path: Path) -> None:
    flags = ("--requests-per-minute", "20", "--trusted-proxies", "127.0.0.1")
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        post = api.ready("alice")
        upload = reserve(api, 1000).json()["upload"]["tus"]
        while (answer := api.get("/posts")).status_code == 200:
            pass
        limited(answer, "requests_per_minute")
        assert api.get(post["image"]["url"]).status_code == 200
        assert api.send("HEAD", upload, "alice", headers=TUS).status_code == 200
        assert api.send("PATCH", upload, "alice", content=b"\xff\xd8\xff", headers=PIECE).is_success
        asking = {"origin": "http://localhost:1", "access-control-request-method": "PATCH"}
        assert api.send("OPTIONS", upload, headers=asking).status_code == 204
        limited(api.send("OPTIONS", "/posts"), "requests_per_minute")
        # Somebody else, behind the same proxy; one household of them is one caller.
        for host in range(20):
            sent = {"x-forwarded-for": f"10.0.0.1, 2001:db8::{host}"}
            assert api.get("/posts", headers=sent).status_code == 200
        limited(
            api.get("/posts", headers={"x-forwarded-for": "2001:db8::ffff"}), "requests_per_minute"
        )
        assert api.get("/posts", headers={"x-forwarded-for": "2001:db8:1::"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("HEAD", "/posts", {}),
        ("HEAD", "/nothing", {}),
        ("POST", "/posts", {"x-http-method-override": "HEAD"}),
        ("POST", NO_POST, {"x-http-method-override": "PATCH"}),
        ("PATCH", NO_POST, {}),
        ("HEAD", NO_UPLOAD, TUS),
        ("PATCH", NO_UPLOAD, PIECE),
        ("POST", NO_UPLOAD, {"x-http-method-override": "HEAD", **TUS}),
        ("HEAD", f"{NO_UPLOAD}/more", TUS),
        ("GET", "/images/no/such/image", {}),
        ("POST", f"/images/{ID}/600.jpg", {}),
        ("OPTIONS", "/posts", {"origin": "http://localhost:1"}),
        ("BREW", "/posts", {}),
        ("DELETE", "/no/such/path", {}),
    ],
    ids=str,
)
def test_no_request_of_a_stranger_escapes_the_limit_by_address(
    few_requests: Api, method: str, path: str, headers: dict[str, str]
) -> None:
    """Each case is an address of its own; whoever asks for it after the limit gets the 429."""
    address = {"x-forwarded-for": f"2001:db8:{next(_numbers)}::1"}
    answers = [few_requests.send(method, path, headers=headers | address) for _ in range(25)]
    statuses = [answer.status_code for answer in answers]
    assert 429 not in statuses[:20], statuses
    assert statuses[-1] == 429, statuses
    if method != "HEAD" and "x-http-method-override" not in headers:
        limited(answers[-1], "requests_per_minute")
    assert few_requests.get("/posts", headers=address).status_code == 429


def test_what_a_page_needs_and_uploads_of_a_user_are_not_counted(few_requests: Api) -> None:
    api, address = few_requests, {"x-forwarded-for": f"2001:db8:{next(_numbers)}::1"}
    preflight = {"origin": "http://localhost:1", "access-control-request-method": "PATCH"}
    as_head = {**TUS, "x-http-method-override": "HEAD"}
    for _ in range(25):
        for method in ("GET", "HEAD"):
            assert api.send(method, f"/images/{ID}/600.jpg", headers=address).status_code == 404
        assert api.send("HEAD", NO_UPLOAD, "alice", headers=TUS | address).status_code == 404
        assert api.send("POST", NO_UPLOAD, "alice", headers=as_head | address).status_code == 404
        assert api.send("PATCH", NO_UPLOAD, "alice", headers=PIECE | address).status_code == 404
        assert api.send("OPTIONS", "/posts", headers=preflight | address).status_code == 204
    assert api.get("/posts", headers=address).status_code == 200


def test_all_processes_count_together(tmp_path: Path) -> None:
    flags = ("--workers", "2", "--writes-per-minute", "30", "--requests-per-minute", "300")
    with local_server(tmp_path, *flags) as server:
        headers = {"user-id": "alice"}
        answers = [  # each by a connection of its own, so by either process
            httpx.delete(f"{server.url}{NO_POST}", headers=headers).status_code for _ in range(60)
        ]
        misses = answers.count(404)
        assert answers[:30] == [404] * 30
        assert misses < 35  # not 60; 30, if no minute of the clock ended meanwhile
        metrics = httpx.get(f"{server.url}/metrics").text
    assert (
        'image_poster_rate_limited_total{limit="writes_per_minute"} ' + f"{60 - misses}.0"
        in metrics
    )
    assert 'image_poster_limit{limit="writes_per_minute"} 30.0' in metrics


def test_with_jwt_the_limits_are_on_and_metrics_are_for_admins_and_this_machine(
    tmp_path: Path,
) -> None:
    shell = Shell("http://127.0.0.1:1", tmp_path / "state")
    shell.variables["IMAGE_POSTER_DATA_DIR"] = str(tmp_path / "data")
    flags = ("--auth", "jwt", "--writes-per-minute", "0", "--bytes-per-day", "7000")
    with local_server(tmp_path / "data", *flags) as server:
        rates = httpx.get(f"{server.url}/limits").json()["rates"]
        assert rates == {
            "writes_per_minute": None,
            "bytes_per_day": 7000,
            "uploads_under_way": 50,
            "requests_per_minute": 1200,
            "exact": True,
        }
        metrics = f"{server.url}/metrics"
        shown = httpx.get(metrics)
        assert 'image_poster_limit{limit="bytes_per_day"} 7000.0' in shown.text
        assert 'limit="writes_per_minute"' not in shown.text
        passed_on = {"x-forwarded-for": "127.0.0.1"}
        assert_problem(httpx.get(metrics, headers=passed_on), 401, "identity_required")
        for name, status in (("alice", 403), ("root", 200)):
            admin = ["--admin"] if name == "root" else []
            token = shell.run("token", name, *admin).stdout.strip()
            sent = {**passed_on, "authorization": f"Bearer {token}"}
            assert httpx.get(metrics, headers=sent).status_code == status
        assert_problem(
            httpx.get(metrics, headers={**passed_on, "authorization": sent["authorization"][:-9]}),
            401,
            "identity_required",
        )


def test_with_dev_nothing_is_limited_unless_it_is_set(tmp_path: Path) -> None:
    with local_server(tmp_path) as server:
        rates = httpx.get(f"{server.url}/limits").json()["rates"]
        assert rates.pop("exact")
        assert set(rates.values()) == {None}


MEGABYTE = 1_000_000
PHOTO = (samples.jpeg() + bytes(2 * MEGABYTE))[: 2 * MEGABYTE]
WRONG = {"upload-checksum": f"sha256 {b64encode(bytes(32)).decode()}"}


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Api]:
    """Images of up to 3 MB, 20 MB a day."""
    wait_for_midnight_if_near()
    flags = ("--image-bytes", str(3 * MEGABYTE), "--bytes-per-day", str(20 * MEGABYTE))
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        yield api


def booked(api: Api, user: str = "alice") -> int:
    """The bytes that count as the user's of today."""
    ids = []
    while (answer := reserve(api, 3 * MEGABYTE, user)).status_code == 201:
        ids.append(answer.json()["id"])
    said = re.search(r"already count (\d+) bytes", answer.json()["detail"])
    for post_id in ids:
        assert api.send("DELETE", f"/posts/{post_id}", user).status_code == 204
    assert said
    return int(said[1]) - 3 * MEGABYTE * len(ids)


def assert_booked(api: Api, expected: int) -> None:
    """Wait for the expected usage: bytes that are read after an answer are counted after it."""
    wait_for_value(lambda: booked(api), expected, seconds=30)


def patch(
    api: Api, path: str, content: bytes, offset: int = 0, checksum: dict[str, str] | None = None
) -> httpx.Response:
    headers = {**PIECE, "upload-offset": str(offset), **(checksum or {})}
    return api.send("PATCH", path, "alice", content=content, headers=headers)


@pytest.mark.parametrize(
    ("content", "offset", "checksum", "status"),
    [
        pytest.param(PHOTO[:MEGABYTE], 0, WRONG, 460, id="wrong checksum"),
        pytest.param(PHOTO[:MEGABYTE], 7, None, 409, id="wrong offset"),
        pytest.param(bytes(MEGABYTE), 0, None, 415, id="no image"),
    ],
)
def test_bytes_of_a_patch_that_are_refused_count_and_too_many_end_the_upload(
    counted: Api, content: bytes, offset: int, checksum: dict[str, str] | None, status: int
) -> None:
    path = reserve(counted, 2 * MEGABYTE).json()["upload"]["tus"]
    for _ in range(3):
        assert patch(counted, path, content, offset, checksum).status_code == status
    assert_booked(counted, 5 * MEGABYTE)
    patch(counted, path, content, offset, checksum)
    assert_booked(counted, 4 * MEGABYTE)  # those of the upload itself are given back
    assert_problem(patch(counted, path, PHOTO), 410, "upload_gone")


def test_a_patch_is_never_refused_for_the_quota(counted: Api) -> None:
    image = samples.jpeg()
    path = reserve(counted, len(image)).json()["upload"]["tus"]
    other = reserve(counted, 2 * MEGABYTE).json()["upload"]["tus"]
    while reserve(counted, 2 * MEGABYTE).status_code == 201:
        pass
    for _ in range(2):
        assert patch(counted, other, PHOTO[:MEGABYTE], 0, WRONG).status_code == 460
    limited(reserve(counted, 1), "bytes_per_day")
    assert counted.send("HEAD", path, "alice", headers=TUS).status_code == 200
    assert patch(counted, path, image[:20]).status_code == 204
    assert patch(counted, path, image[20:], 20).status_code == 204


def test_bytes_at_a_signed_url_count_when_they_are_not_those_that_were_announced(
    counted: Api,
) -> None:
    image = {"size": MEGABYTE, "content_type": "image/jpeg", "sha256": "00" * 32}
    reserved = counted.send("POST", "/posts", "alice", json={"image": image}).json()
    put, content = reserved["upload"]["put"], PHOTO[:MEGABYTE]
    answers = [
        counted.http.put(put["url"], content=content, headers=put["headers"]).status_code
        for _ in range(5)
    ]
    assert answers == [460, 460, 460, 410, 410]
    assert_booked(counted, 4 * MEGABYTE)


def test_bytes_that_a_put_replaces_count(counted: Api) -> None:
    reserved = reserve(counted, 2 * MEGABYTE).json()["upload"]
    put = reserved["put"]
    assert patch(counted, reserved["tus"], PHOTO[:MEGABYTE]).status_code == 204
    assert counted.http.put(put["url"], content=PHOTO, headers=put["headers"]).is_success
    assert_booked(counted, 3 * MEGABYTE)


@contextmanager
def cut_request(
    api: Api, request: str, headers: dict[str, str], content: bytes, folder: Path
) -> Iterator[None]:
    """A request for an upload of which `content` has come and is stored; then it is cut."""
    address = urlsplit(api.url)
    post_id = request.partition("?")[0].rpartition("/")[2]
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        sent = {"content-length": str(len(PHOTO)), **headers, "host": address.netloc}
        lines = [f"{request} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
        wait_until_stored(folder, post_id, len(content))
        yield


def wait_until_stored(folder: Path, post_id: str, size: int) -> None:
    wait_until(lambda: stored_bytes(folder, post_id) == size, every=0.01)


def stored_bytes(folder: Path, post_id: str) -> int:
    """The size of an upload; 0 once it was ended."""
    with suppress(FileNotFoundError):
        return max((file.stat().st_size for file in folder.glob(f"**/{post_id}")), default=0)
    return 0


def unverified_patch(api: Api, path: str, folder: Path) -> AbstractContextManager[None]:
    headers = {**PIECE, **WRONG, "user-id": "alice"}
    return cut_request(api, f"PATCH {path}", headers, PHOTO[:MEGABYTE], folder)


def test_bytes_that_a_newer_request_throws_away_count(counted: Api, tmp_path: Path) -> None:
    """They could not be verified any more."""
    path = reserve(counted, 2 * MEGABYTE).json()["upload"]["tus"]
    with unverified_patch(counted, path, tmp_path):
        head = counted.send("HEAD", path, "alice", headers=TUS)
        assert head.headers["upload-offset"] == "0"
        assert_booked(counted, 3 * MEGABYTE)


@pytest.mark.parametrize("ending", ["cut", "superseded"])
def test_a_bad_network_does_not_end_an_upload_that_is_sent_with_checksums(
    counted: Api, tmp_path: Path, ending: str
) -> None:
    """It loses more than an image may have; ten times as much ends even such an upload."""
    path = reserve(counted, len(PHOTO)).json()["upload"]["tus"]
    other = reserve(counted, 2 * MEGABYTE).json()["upload"]["tus"]
    for _ in range(5):
        lose_a_patch(counted, path, tmp_path, ending)
    assert patch(counted, path, PHOTO).status_code == 204
    for _ in range(31):
        assert counted.send("HEAD", other, "alice", headers=TUS).status_code == 200
        lose_a_patch(counted, other, tmp_path, ending)
    wait_until(lambda: counted.send("HEAD", other, "alice", headers=TUS).status_code == 410)


def lose_a_patch(api: Api, path: str, folder: Path, ending: str) -> None:
    with unverified_patch(api, path, folder):
        if ending == "superseded":
            api.send("HEAD", path, "alice", headers=TUS)
    wait_until_stored(folder, path.rpartition("/")[2], 0)


def test_a_put_that_is_cut_again_and_again_can_still_be_completed(
    counted: Api, tmp_path: Path
) -> None:
    """Each replaces the bytes of the one before."""
    put = reserve(counted, len(PHOTO)).json()["upload"]["put"]
    for lacking in range(1, 6):
        with cut_request(counted, f"PUT {put['url']}", put["headers"], PHOTO[:-lacking], tmp_path):
            pass
    assert counted.http.put(put["url"], content=PHOTO, headers=put["headers"]).status_code == 204


def test_a_form_that_is_refused_costs_what_came_of_it(counted: Api) -> None:
    image = samples.jpeg() + bytes(MEGABYTE)
    answer = counted.upload("alice", image, caption="x" * 6000)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"caption"}
    assert len(image) < booked(counted) < len(image) + 10_000
    answer = counted.upload("bob", image)
    assert answer.status_code == 201
    assert booked(counted, "bob") == len(image)


def test_a_form_without_end_is_cut_though_its_parts_are_of_no_use(counted: Api) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n'
        for _ in range(100):
            yield bytes(MEGABYTE)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = counted.send("POST", "/posts", "alice", content=parts(), headers=headers)
    assert_problem(answer, 413, "upload_too_large")


def test_of_what_is_sent_to_an_upload_that_is_gone_little_is_read(counted: Api) -> None:
    address = urlsplit(counted.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        lines = [f"PATCH /uploads/{NO_POST[7:]} HTTP/1.1", f"host: {address.netloc}"]
        lines += [f"{name}: {value}" for name, value in {**PIECE, "user-id": "alice"}.items()]
        lines += [f"content-length: {60 * MEGABYTE}", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        sent = 0
        with suppress(ConnectionError):
            for _ in range(60):
                connection.sendall(bytes(MEGABYTE))
                sent += 1
    assert sent < 30


def test_head_of_a_large_original_reads_nothing_of_it(tmp_path: Path) -> None:
    image = samples.jpeg() + bytes(10 * MEGABYTE)
    with local_server(tmp_path) as server, Api(server.url, LOCAL_EDITION) as api:
        path = f"/posts/{api.ready('alice', image)['id']}/original"
        counters = Path(f"/proc/{server.process.pid}/io")
        before = int(counters.read_text().split()[1])
        answer = api.send("HEAD", path, "alice")
        assert answer.headers["content-length"] == str(len(image))
        assert int(counters.read_text().split()[1]) - before < MEGABYTE
