"""`serve --auth jwt` and `image-poster token`, as an operator uses them."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from image_poster.client import ImagePosterClient
from image_poster.domain.ids import new_id
from support import samples
from support.api import LOCAL, Api, assert_problem
from support.issuer import AUDIENCE, FakeIssuer, running_issuer
from support.servers import local_server
from support.shell import Shell

EVERYWHERE = "0.0.0.0"  # noqa: S104 - jwt may


def delete_as(url: str, token: str, **headers: str) -> httpx.Response:
    """Of a post that is not there: 404 to anyone who is somebody."""
    sent = {"authorization": f"Bearer {token}", **headers}
    return httpx.delete(f"{url}/posts/{new_id()}", headers=sent)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Commands on the data folder `data`."""
    made = Shell("http://127.0.0.1:1", tmp_path / "state")
    made.variables["IMAGE_POSTER_DATA_DIR"] = str(tmp_path / "data")
    return made


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as running:
        yield running


@pytest.mark.quick
def test_a_token_of_the_services_own_opens_it_and_the_header_does_not(
    tmp_path: Path, shell: Shell
) -> None:
    flags = ("--auth", "jwt", "--host", EVERYWHERE)
    with local_server(tmp_path / "data", *flags) as server:
        url = server.url.replace(EVERYWHERE, "127.0.0.1")
        token = shell.run("token", "alice", "--days", "1").stdout.strip()
        # Any name of the host, and pages from anywhere: no cookies are used.
        elsewhere = {"host": "photos.example", "origin": "https://photos.example"}
        taken = delete_as(url, token, **elsewhere)
        assert_problem(taken, 404, "post_not_found")
        assert taken.headers["access-control-allow-origin"] == "*"
        by_name = httpx.delete(f"{url}/posts/{new_id()}", headers={"user-id": "alice"})
        assert_problem(by_name, 401, "identity_required")
        assert by_name.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{url}/posts").status_code == 200
    key = tmp_path / "data" / "token.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_revoking_counts_at_once_in_every_process(tmp_path: Path, shell: Shell) -> None:
    with local_server(tmp_path / "data", "--auth", "jwt", "--workers", "2") as server:
        before = shell.run("token", "alice").stdout.strip()
        assert delete_as(server.url, before).status_code == 404
        done = shell.run("token", "bob", "--admin", "--revoke-all")
        assert done.stderr == "all former tokens are invalid\n"
        for _ in range(20):  # each by a connection of its own, so by either process
            refused = delete_as(server.url, before)
            assert_problem(refused, 401, "identity_required")
            assert refused.headers["www-authenticate"] == (
                'Bearer error="invalid_token", '
                'error_description="The bearer token is not valid. Sign in again."'
            )
            assert delete_as(server.url, done.stdout.strip()).status_code == 404
    assert sorted(path.name for path in (tmp_path / "data").glob("token.*")) == ["token.key"]


def test_an_issuer_beside_it(tmp_path: Path, shell: Shell, issuer: FakeIssuer) -> None:
    flags = ("--auth", "jwt", "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
    with local_server(tmp_path / "data", *flags) as server:
        issuer.down = True
        busy = delete_as(server.url, issuer.token())
        assert_problem(busy, 503, "busy")
        assert busy.headers["retry-after"]
        own = shell.run("token", "alice").stdout.strip()
        assert delete_as(server.url, own).status_code == 404
    issuer.down = False
    with local_server(tmp_path / "data", *flags) as server:
        assert delete_as(server.url, issuer.token()).status_code == 404
        assert delete_as(server.url, issuer.token(aud="others")).status_code == 401
        sent = {"authorization": f"Bearer {issuer.token('a1', preferred_username='Alice')}"}
        assert httpx.get(f"{server.url}/me", headers=sent).json() == {
            "user": "a1",
            "name": "Alice",
            "admin": False,
            "auth": {"mode": "jwt", "issuer": issuer.url, "client_id": None, "scope": None},
        }
        assert delete_as(server.url, own).status_code == 404  # the key is the same


def test_a_token_is_for_somebody_and_for_a_folder_that_is_there(
    tmp_path: Path, shell: Shell
) -> None:
    assert "there is no database" in shell.run("token", "alice", code=2).stderr
    assert not (tmp_path / "data").exists()
    for words in ([], [" "], ["a\nb"], ["alice", "--days", "0"]):
        assert shell.run("token", *words, code=2).stdout == ""


def test_a_damaged_key_stops_the_start_and_a_new_one_mends_it(tmp_path: Path, shell: Shell) -> None:
    with local_server(tmp_path / "data", "--auth", "jwt"):
        pass
    (tmp_path / "data" / "token.key").write_bytes(b"")
    for words in (("serve", "--auth", "jwt", "--port", "0"), ("token", "alice")):
        said = shell.run(*words, code=2).stderr
        assert "token.key in the data folder is damaged" in said
    shell.run("token", "--revoke-all")
    with local_server(tmp_path / "data", "--auth", "jwt") as server:
        token = shell.run("token", "alice").stdout.strip()
        assert delete_as(server.url, token).status_code == 404


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--jwt-issuer https://issuer.example", "both, or neither"),
        ("--auth jwt --jwt-audience a", "both, or neither"),
        ("--jwt-issuer https://issuer.example --jwt-audience a", "pass --auth jwt"),
        ("--auth jwt --jwt-client-id pages", "set that too"),
        ("--auth jwt --jwt-issuer http://issuer.example --jwt-audience a", "https URL"),
        ("--auth jwt --jwt-issuer issuer.example --jwt-audience a", "https URL"),
    ],
)
def test_settings_that_cannot_be_are_told(shell: Shell, flags: str, said: str) -> None:
    done = shell.run("serve", *flags.split(), code=2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_written_carries_the_name_of_who_wrote_it(
    tmp_path: Path, issuer: FakeIssuer
) -> None:
    flags = ("--auth", "jwt", "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
    with local_server(tmp_path / "data", *flags) as server, Api(server.url, LOCAL) as api:
        for name in ("Alice", "Alicia"):
            token = issuer.token("a1", preferred_username=name)
            api.http.headers["authorization"] = f"Bearer {token}"
            post = api.ready("")
            said = api.comment(post["id"], "")
            assert (post["creator"], post["creator_name"]) == ("a1", name)
            assert (said["creator"], said["creator_name"]) == ("a1", name)
        shown = api.feed(sort="new", creator="a1")["posts"]
        assert [found["creator_name"] for found in shown] == ["Alicia", "Alice"]
        assert [found["latest_comments"][0]["creator_name"] for found in shown] == [
            "Alicia",
            "Alice",
        ]


def test_a_client_asks_for_another_token_when_one_has_run_out(
    tmp_path: Path, shell: Shell, issuer: FakeIssuer
) -> None:
    photo, file = tmp_path / "photo.jpg", tmp_path / "token"
    photo.write_bytes(samples.jpeg())
    flags = ("--auth", "jwt", "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
    with local_server(tmp_path / "data", *flags) as server:
        shell.variables["IMAGE_POSTER_URL"] = server.url
        file.write_text(issuer.token("a1", exp=int(time.time()) - 60))
        post_id = "0" * 26
        said = shell.run("delete", post_id, "--token-file", file, code=1).stderr
        assert said == (
            "image-poster: The bearer token has run out. Sign in again. (identity_required)\n"
        )
        given = iter([file.read_text(), issuer.token("a1"), "never asked"])
        with ImagePosterClient(server.url, token=lambda: next(given)) as client:
            post = client.wait_until_processed(client.post(photo).id)
            assert client.comment(post.id, "hello").creator == "a1"
        command = f"cat {tmp_path / 'renewed'}"
        assert "no token came" in shell.run("feed", "--token-command", command, code=3).stderr
        bearer = {"authorization": f"Bearer {file.read_text()}", "tus-resumable": "1.0.0"}
        upload = httpx.head(f"{server.url}/uploads/{post_id}", headers=bearer)
        assert "The bearer token has run out." in upload.headers["www-authenticate"]
        (tmp_path / "renewed").write_text(issuer.token("a1"))
        shell.variables["IMAGE_POSTER_TOKEN_COMMAND"] = command
        assert "a1: hello" in shell.run("show", post.id).stdout
        assert "deleted" in shell.run("delete", post.id).stdout
