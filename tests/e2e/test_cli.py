"""The commands, as people type them."""

import json
import re
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from image_poster.client.journal import RequestJournal, ResumeState, UploadIdentity, sha256_of
from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, Server, local_server, start
from support.shell import Shell


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_server(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(server.url, tmp_path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.from_phone(6, 900, 600))
    return path


@pytest.mark.quick
def test_post_comment_show_feed_delete(shell: Shell, photo: Path) -> None:
    as_user = ("--as", shell.user)
    posted = shell.run("post", photo, "--caption", "At the lake", *as_user)
    post_id = posted.stdout.split()[0]
    assert "At the lake" in posted.stdout
    assert f"/images/{post_id}/600.jpg" in posted.stdout
    assert shell.run("comment", post_id, "Nice!", *as_user).stdout.endswith(
        f"{shell.user}: Nice!\n"
    )
    assert f"{shell.user}: Nice!" in shell.run("show", post_id).stdout
    assert post_id in shell.run("feed", "--sort", "new").stdout
    assert shell.run("delete", post_id, *as_user).stdout == f"deleted {post_id}\n"
    assert "post_not_found" in shell.run("show", post_id, code=1).stderr


def test_json_for_programs(shell: Shell, photo: Path) -> None:
    as_user = ("--as", shell.user, "--json")
    post = json.loads(shell.run("post", photo, *as_user).stdout)
    assert post["status"] == "ready"
    comment = json.loads(shell.run("comment", post["id"], "Nice!", *as_user).stdout)
    assert json.loads(shell.run("show", post["id"], "--json").stdout)["latest_comments"] == [
        comment
    ]
    page = json.loads(shell.run("feed", "--limit", "1", "--json").stdout)
    assert len(page["posts"]) == 1
    assert json.loads(shell.run("delete", post["id"], *as_user).stdout) == {"deleted": post["id"]}


def test_many_files_are_many_posts_and_pages_lead_on(shell: Shell, photo: Path) -> None:
    posted = shell.run("post", photo, photo, photo, "--as", shell.user, "--json").stdout
    assert len({json.loads(line)["id"] for line in posted.splitlines()}) == 3
    first = shell.run("feed", "--limit", "2", "--sort", "new").stdout
    cursor = re.search(r"--cursor (\S+)", first)
    assert cursor is not None
    second = shell.run("feed", "--limit", "1", "--sort", "new", "--cursor", cursor[1]).stdout
    assert second.split()[0] not in first


def test_what_is_refused_exits_1_with_a_sentence(shell: Shell, photo: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    assert "unsupported_image" in shell.run("post", text, "--as", "alice", code=1).stderr
    nobody = shell.run("post", photo, code=1).stderr
    assert "identity_required" in nobody
    assert "--as NAME" in nobody
    assert "IMAGE_POSTER_TOKEN" in nobody
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(samples.jpeg()[:700])
    said = shell.run("post", broken, "--as", "alice", code=1).stderr
    assert "broken.jpg" in said
    assert "image_unreadable" in said


def test_wrong_usage_exits_2(shell: Shell, tmp_path: Path) -> None:
    shell.run("post", tmp_path / "missing.jpg", code=2)
    shell.run("feed", "--limit", "0", code=2)
    shell.run("frobnicate", code=2)
    assert "there is no database" in shell.run("rebuild", "--data-dir", tmp_path, code=2).stderr


def test_a_service_that_is_not_there_exits_3(shell: Shell, photo: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        to_nobody = ("--as", "alice", "--url", url, "--patience", "1")
        said = shell.run("post", photo, *to_nobody, code=3).stderr
    assert f"{url} cannot be reached" in said
    assert "Run the same command again to continue." in said
    assert url in shell.run("feed", "--url", url, code=3).stderr


class OtherService(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(418)
        self.end_headers()
        self.wfile.write(b"I am a teapot")

    def log_message(self, *_: object) -> None:
        pass


def test_another_service_at_that_address_exits_3(shell: Shell) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherService) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        said = shell.run("show", "x", "--url", url, code=3).stderr
        other.shutdown()
    assert "answered 418 without saying why" in said


def test_operators_see_and_mend_drift(tmp_path: Path, photo: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    with local_server(tmp_path / "data") as server:
        shell = Shell(server.url, tmp_path)
        post = json.loads(shell.run("post", photo, "--as", "alice", "--json").stdout)
        shell.run("comment", post["id"], "one", "--as", "bob")
        assert "1 posts checked, 0 counts corrected" in shell.run("rebuild", *data).stdout
    connection = sqlite3.connect(tmp_path / "data" / "image_poster.db")
    with connection:
        connection.execute("UPDATE posts SET total_comments = 9")
    connection.close()
    said = shell.run("rebuild", *data).stdout
    assert f"{post['id']}: corrected its count of comments from 9 to 1" in said
    assert "1 counts corrected" in said


def test_the_doctor_finds_what_is_wrong(tmp_path: Path, photo: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    with local_server(tmp_path / "data") as server:
        shell = Shell(server.url, tmp_path)
        post = json.loads(shell.run("post", photo, "--as", "alice", "--json").stdout)
        healthy = shell.run("doctor", *data).stdout
        assert "BAD" not in healthy
        assert "a server uses this folder" in healthy
        assert re.search(r"ok\s+sandbox\s+in force: an empty environment, .*, seccomp", healthy)
    (lost,) = (tmp_path / "data" / "renditions").rglob(f"{post['id']}.600.jpg")
    lost.unlink()
    sick = shell.run("doctor", *data, code=1).stdout
    assert re.search(rf"BAD\s+images\s.*{post['id']}.600.jpg is missing", sick)


def test_parked_work_is_listed_and_replayed(tmp_path: Path, photo: Path) -> None:
    """The original is taken away, so that image work fails through no fault of the image."""
    data = ("--data-dir", tmp_path / "data")
    server = start(LOCAL, "--data-dir", str(tmp_path / "data"))
    shell = Shell(server.url, tmp_path)
    assert shell.run("failed", *data).stdout == "nothing has failed\n"
    post = json.loads(shell.run("post", photo, "--as", "alice", "--json").stdout)
    server.stop()
    (original,) = (tmp_path / "data" / "originals").rglob(post["id"])
    hidden = original.rename(tmp_path / "hidden")
    reset = (
        "UPDATE posts SET status = 'processing', failures = 2, "
        "head = CAST(replace(head, 'ready', 'processing') AS BLOB)"
    )
    connection = sqlite3.connect(tmp_path / "data" / "image_poster.db")
    with connection:
        connection.execute(reset)
    connection.close()
    with local_server(tmp_path / "data") as again:
        shell = Shell(again.url, tmp_path)
        assert wait_for(again, post["id"])["failure"]["code"] == "processing_failed"
        assert post["id"] in shell.run("failed", *data).stdout
        assert "the original is missing" in shell.run("failed", *data).stdout
        hidden.rename(original)
        assert "will be tried again" in shell.run("failed", "--replay", *data).stdout
        assert wait_for(again, post["id"])["status"] == "ready"
        assert shell.run("failed", *data).stdout == "nothing has failed\n"


def wait_for(server: Server, post_id: str) -> dict[str, Any]:
    with Api(server.url, LOCAL_EDITION) as api:
        return api.processed(f"/posts/{post_id}", "alice")


def test_the_openapi_document_is_printed(shell: Shell) -> None:
    document = json.loads(shell.run("openapi").stdout)
    assert document["openapi"].startswith("3.1")
    assert "/posts/{post_id}" in document["paths"]


def test_why_a_post_failed_is_shown(shell: Shell, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(samples.jpeg()[:200])
    posted = shell.run("post", broken, "--as", shell.user, "--json", code=1).stdout
    shown = shell.run("show", json.loads(posted)["id"], "--as", shell.user).stdout
    assert "[failed]" in shown
    assert "(image_unreadable)" in shown
    unfinished = shell.run("feed", "--unfinished", "--as", shell.user).stdout
    assert "(image_unreadable)" in unfinished
    assert "--as NAME" in shell.run("feed", "--unfinished", code=1).stderr


def test_a_caption_of_five_thousand_letters_of_four_bytes_is_posted(
    shell: Shell, photo: Path
) -> None:
    """20 kB, where the metadata of tus takes 8."""
    caption = "\N{CAT FACE}" * 5000
    posted = shell.run("post", photo, "--caption", caption, "--as", shell.user, "--json").stdout
    assert json.loads(posted)["caption"] == caption


def test_what_was_deleted_meanwhile_is_posted_only_by_asking_once_more(
    server: Server, shell: Shell, photo: Path
) -> None:
    """The first command was killed before it heard of its success."""
    as_user, content = ("--as", shell.user), photo.read_bytes()
    with Api(server.url, LOCAL_EDITION) as api:
        image = {"size": len(content), "content_type": "image/jpeg"}
        reservation = {"caption": "", "alt": "", "image": image}
        key = {"idempotency-key": "a key"}
        post = api.send("POST", "/posts", shell.user, json=reservation, headers=key).json()
        put = post["upload"]["put"]
        assert api.http.put(put["url"], content=content, headers=put["headers"]).is_success
    shell.run("delete", post["id"], *as_user)
    journal = RequestJournal(Path(shell.variables["XDG_STATE_HOME"]) / "image-poster" / "uploads")
    identity = UploadIdentity(server.url, shell.user, sha256_of(photo), "", "")
    with journal.open_entry(identity) as entry:
        entry.save(ResumeState("a key", f"/uploads/{post['id']}", since=time.time()))
    refused = shell.run("post", photo, *as_user, code=1).stderr
    assert "has been deleted since" in refused
    assert "Run the same command again" in refused
    assert json.loads(shell.run("post", photo, *as_user, "--json").stdout)["id"] != post["id"]


def test_what_was_first_sent_long_ago_is_posted_again_only_if_a_person_says_so(
    server: Server, shell: Shell, photo: Path
) -> None:
    as_user = ("--as", shell.user)
    journal = RequestJournal(Path(shell.variables["XDG_STATE_HOME"]) / "image-poster" / "uploads")
    identity = UploadIdentity(server.url, shell.user, sha256_of(photo), "", "")
    with journal.open_entry(identity) as entry:
        entry.save(ResumeState("a key", since=time.time() - 7 * 24 * 3600))
    refused = shell.run("post", photo, *as_user, code=1).stderr
    assert "photo.jpg was first sent on" in refused
    assert "--again" in refused
    assert shell.run("feed", "--json").stdout.count(shell.user) == 0
    assert "photo" not in shell.run("post", photo, *as_user, "--again").stderr


def test_a_certificate_that_is_not_trusted_is_told_at_once(
    shell: Shell, photo: Path, tmp_path: Path
) -> None:
    with distrusted_server(tmp_path) as url:
        refused = shell.run("post", photo, "--as", "alice", "--url", url, code=3).stderr
    assert "certificate that is not trusted" in refused
    assert "SSL_CERT_FILE" in refused
    assert "trying again" not in refused


@contextmanager
def distrusted_server(folder: Path) -> Iterator[str]:
    """TLS with a certificate that nobody has vouched for."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"https://localhost:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
