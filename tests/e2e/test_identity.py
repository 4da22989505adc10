"""`serve --auth jwt` and `image-poster token`, as an operator uses them."""

import stat
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from image_poster.adapters.oidc import own_token
from image_poster.client import ImagePosterClient
from image_poster.domain.ids import new_id
from support import samples
from support.api import LOCAL, Api, assert_problem
from support.issuer import AUDIENCE, KEYS, FakeIssuer, drip, garbage_token, running_issuer, signed
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
    shell = Shell("http://127.0.0.1:1", tmp_path / "state")
    shell.variables["IMAGE_POSTER_DATA_DIR"] = str(tmp_path / "data")
    return shell


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
        deletion = delete_as(url, token, **elsewhere)
        assert_problem(deletion, 404, "post_not_found")
        assert deletion.headers["access-control-allow-origin"] == "*"
        by_name = httpx.delete(f"{url}/posts/{new_id()}", headers={"user-id": "alice"})
        assert_problem(by_name, 401, "identity_required")
        assert by_name.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{url}/posts").status_code == 200
    key = tmp_path / "data" / "token.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("user", [".", ".."])
def test_a_name_that_paths_cannot_carry_gets_no_token(
    tmp_path: Path, shell: Shell, user: str
) -> None:
    refused = shell.run("token", user, "--data-dir", tmp_path / "data", code=2).stderr
    assert "must not be . or .." in refused


def test_revoking_counts_at_once_in_every_process(tmp_path: Path, shell: Shell) -> None:
    with local_server(tmp_path / "data", "--auth", "jwt", "--workers", "2") as server:
        before = shell.run("token", "alice").stdout.strip()
        assert delete_as(server.url, before).status_code == 404
        done = shell.run("token", "bob", "--admin", "--revoke-all")
        assert done.stderr == "all existing tokens were revoked\n"
        for _ in range(20):  # each by a connection of its own, so by either process
            refused = delete_as(server.url, before)
            assert_problem(refused, 401, "identity_required")
            assert refused.headers["www-authenticate"] == (
                'Bearer error="invalid_token", '
                'error_description="The bearer token is not valid. Sign in again."'
            )
            assert delete_as(server.url, done.stdout.strip()).status_code == 404
    assert sorted(path.name for path in (tmp_path / "data").glob("token.*")) == ["token.key"]


def test_revoking_one_user_counts_at_once_in_every_process_and_for_nobody_else(
    tmp_path: Path, shell: Shell
) -> None:
    flags = ("--auth", "jwt", "--workers", "2")
    with local_server(tmp_path / "data", *flags) as server:
        stolen, bobs = (shell.run("token", name).stdout.strip() for name in ("alice", "bob"))
        assert delete_as(server.url, stolen).status_code == 404
        assert shell.run("token", "--revoke", "alice").stderr == (
            "all existing tokens of alice were revoked\n"
        )
        again = shell.run("token", "alice", "--admin").stdout.strip()
        for _ in range(10):  # each by a connection of its own, so by either process
            refused = delete_as(server.url, stolen)
            assert_problem(refused, 401, "identity_required")
            assert "was revoked" in refused.headers["www-authenticate"]
            assert delete_as(server.url, again).status_code == 404
            assert delete_as(server.url, bobs).status_code == 404
        shell.run("token", "--revoke", "alice")
        last = shell.run("token", "alice").stdout.strip()
    file = tmp_path / "data" / "revocations.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with local_server(tmp_path / "data", *flags) as server:
        for token, status in ((stolen, 401), (again, 401), (last, 404), (bobs, 404)):
            assert delete_as(server.url, token).status_code == status


def test_revocations_at_the_same_time_are_all_there(tmp_path: Path, shell: Shell) -> None:
    with local_server(tmp_path / "data", "--auth", "jwt") as server:
        users = [f"user {number}" for number in range(4)]
        key = (tmp_path / "data" / "token.key").read_bytes()
        tokens = [own_token(key, user, seconds=60) for user in users]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda user: shell.run("token", "--revoke", user), users))
        assert [delete_as(server.url, token).status_code for token in tokens] == [401] * 4
    names = {path.name for path in (tmp_path / "data").glob("revocations*")}
    assert names == {"revocations.json"}


def test_damaged_revocations_let_nobody_in_and_are_told(tmp_path: Path, shell: Shell) -> None:
    file = tmp_path / "data" / "revocations.json"
    with local_server(tmp_path / "data", "--auth", "jwt") as server:
        token = shell.run("token", "alice").stdout.strip()
        assert delete_as(server.url, token).status_code == 404
        for content in (b"", b"{", b"[]", b'{"alice": 7}', b"\xff"):
            file.write_bytes(content)
            assert_problem(delete_as(server.url, token), 503, "busy")
        assert httpx.get(f"{server.url}/posts").status_code == 200
        for words in (["alice"], ["--revoke", "alice"]):
            assert "revocations.json is damaged" in shell.run("token", *words, code=2).stderr
    said = shell.run("serve", "--auth", "jwt", "--port", "0", code=2).stderr
    assert "revocations.json is damaged" in said
    assert len(said.splitlines()) == 1


def test_revoking_is_of_one_user_and_of_a_folder_that_is_there(
    tmp_path: Path, shell: Shell
) -> None:
    assert "there is no database" in shell.run("token", "--revoke", "alice", code=2).stderr
    assert not (tmp_path / "data").exists()
    for words in (
        ["--revoke", " "],
        ["--revoke", "a\nb"],
        ["bob", "--revoke", "alice"],
        ["--revoke", "alice", "--revoke-all"],
        ["--revoke", "alice", "--stack", "any"],
    ):
        assert shell.run("token", *words, code=2).stdout == ""


def test_only_a_setting_makes_an_admin_of_an_issuers_user(
    tmp_path: Path, shell: Shell, issuer: FakeIssuer
) -> None:
    flags = ("--auth", "jwt", "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
    claimed = {"scope": "openid admin", "groups": ["admins"], "cognito:groups": ["admins"]}
    for more, admin in (((), False), (("--jwt-admin-claim", "groups=admins"), True)):
        with local_server(tmp_path / "data", *flags, *more) as server:

            def me(token: str, url: str = server.url) -> Any:
                return httpx.get(f"{url}/me", headers={"authorization": f"Bearer {token}"}).json()

            assert me(issuer.token("mallory", **claimed))["admin"] is admin
            assert me(issuer.token("mallory", scope="admin"))["admin"] is False
            own = shell.run("token", "root", "--admin").stdout.strip()
            assert me(own)["admin"] is True
            assert me(shell.run("token", "bob").stdout.strip())["admin"] is False


def test_what_is_no_access_token_is_refused_and_never_a_fault(
    tmp_path: Path, issuer: FakeIssuer
) -> None:
    flags = ("--auth", "jwt", "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
    claims, key = issuer.claims("alice"), issuer.key
    deep = urlsafe_b64encode(b'{"alg":"RS256","x":' + b"[" * 20_000).decode()
    deeper = urlsafe_b64encode(b'{"alg":"RS256"}').decode().rstrip("=") + f".{deep}.x"
    with local_server(tmp_path / "data", *flags) as server:
        assert delete_as(server.url, issuer.token()).status_code == 404
        assert delete_as(server.url, signed(key, claims, typ="at+jwt")).status_code == 404
        for token in (
            issuer.token(nonce="n"),
            issuer.token(at_hash="h"),
            issuer.token(token_use="id"),  # noqa: S106 - no password
            issuer.token(typ="ID"),
            issuer.token(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
            signed(key, claims, typ="logout+jwt"),
            f"{deep}.e30.x",
            deeper,
        ):
            assert_problem(delete_as(server.url, token), 401, "identity_required")


def test_the_services_own_users_post_while_the_issuer_drips(
    tmp_path: Path, shell: Shell, issuer: FakeIssuer
) -> None:
    flags = ("--auth", "jwt", "--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
    issuer.misbehave[KEYS] = drip
    with (
        local_server(tmp_path / "data", *flags) as server,
        Api(server.url, LOCAL) as api,
        ThreadPoolExecutor(8) as strangers,
    ):
        token = shell.run("token", "alice").stdout.strip()
        api.http.headers["authorization"] = f"Bearer {token}"
        refusals = [
            strangers.submit(delete_as, server.url, garbage_token(issuer.claims("mallory")))
            for _ in range(16)
        ]
        posts = [api.ready("") for _ in range(3)]
        assert len(api.feed()["posts"]) == len(posts)
        for refused in refusals:
            assert_problem(refused.result(), 503, "busy")
            assert refused.result().headers["retry-after"]


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
        ("--auth jwt --jwt-client-id pages", "set jwt_issuer too"),
        ("--auth jwt --jwt-admin-claim groups=admins", "set jwt_issuer too"),
        ("--auth jwt --jwt-admin-claim admins", "such as groups=admins"),
        ("--auth jwt --jwt-admin-claim groups=", "such as groups=admins"),
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
        assert [post["creator_name"] for post in shown] == ["Alicia", "Alice"]
        assert [post["latest_comments"][0]["creator_name"] for post in shown] == [
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
            "image-poster: The bearer token has expired. Sign in again. (identity_required)\n"
        )
        tokens = iter([file.read_text(), issuer.token("a1"), "never asked"])
        with ImagePosterClient(server.url, token=lambda: next(tokens)) as client:
            post = client.wait_until_processed(client.post(photo).id)
            assert client.comment(post.id, "hello").creator == "a1"
        command = f"cat {tmp_path / 'renewed'}"
        assert "no token came" in shell.run("feed", "--token-command", command, code=3).stderr
        bearer = {"authorization": f"Bearer {file.read_text()}", "tus-resumable": "1.0.0"}
        upload = httpx.head(f"{server.url}/uploads/{post_id}", headers=bearer)
        assert "The bearer token has expired." in upload.headers["www-authenticate"]
        (tmp_path / "renewed").write_text(issuer.token("a1"))
        shell.variables["IMAGE_POSTER_TOKEN_COMMAND"] = command
        assert "a1: hello" in shell.run("show", post.id).stdout
        assert "deleted" in shell.run("delete", post.id).stdout
