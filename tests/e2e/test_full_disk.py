"""A disk that is full: a clean problem, nothing lost, and it goes on when there is room again."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, assert_problem, someone
from support.servers import LOCAL, Server, running, wait_until_ready
from support.waiting import wait_until

SIZE = "32m"
# More than what the images write that are processed at once.
RESERVE = 8_000_000
# A refusal of LARGE means that there is no room for HUGE either.
SMALL, LARGE, HUGE = samples.jpeg(), samples.noisy(2000), samples.noisy(2500)
BEGUN = 100_000
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
# A disk of its own (tmpfs), that only the server sees: unshare(1), mount_namespaces(7).
MOUNT = f'mount -t tmpfs -o size={SIZE} disk "$0" && exec "$@"'
UNSHARED = ("unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT)


def why_not() -> str:
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    done = subprocess.run([*UNSHARED, "/mnt", "true"], capture_output=True, text=True, check=False)
    return f"no disk can be mounted here: {done.stderr.strip()}" if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    disk = tmp_path / "disk"
    disk.mkdir()
    data: Path = disk / "data"
    flags = ("--data-dir", str(data), "--disk-reserve", str(RESERVE))
    with running((*UNSHARED, str(disk), *LOCAL), *flags) as server:
        yield server


def test_nothing_is_lost_and_room_again_is_used(server: Server) -> None:
    alice = someone("alice")
    with Api(server.url, LOCAL_EDITION) as api:
        ids = [api.ready(alice, SMALL)["id"]]
        length = {**TUS, "upload-length": str(len(HUGE))}
        upload = api.send("POST", "/uploads", alice, headers=length).headers["location"]
        first = {**PIECE, "upload-offset": "0"}
        api.send("PATCH", upload, alice, content=HUGE[:BEGUN], headers=first)

        refused = None
        for _ in range(8):
            answer = api.upload(alice, LARGE)
            if answer.status_code != 201:
                refused = answer
                break
            ids.append(answer.json()["id"])
        assert refused is not None
        assert_problem(refused, 507, "storage_full")
        assert int(refused.headers["retry-after"]) >= 1

        at = int(api.send("HEAD", upload, alice, headers=TUS).headers["upload-offset"])
        assert at == BEGUN
        rest = {**PIECE, "upload-offset": str(at)}
        answer = api.send("PATCH", upload, alice, content=HUGE[at:], headers=rest)
        assert_problem(answer, 507, "storage_full")
        at = int(api.send("HEAD", upload, alice, headers=TUS).headers["upload-offset"])
        assert at >= BEGUN

        assert api.get("/posts").status_code == 200
        for post_id in ids:
            assert api.get(f"/posts/{post_id}", alice).status_code == 200
        assert api.get(f"/posts/{ids[0]}/original", alice).content == SMALL
        api.comment(ids[0], alice)

        for post_id in ids[1:-1]:
            assert api.send("DELETE", f"/posts/{post_id}", alice).status_code == 204
        post = api.processed(f"/posts/{ids[-1]}", alice)
        assert post["status"] == "ready", "what was taken waited for room, and was not given up"
        assert api.send("DELETE", f"/posts/{ids[-1]}", alice).status_code == 204
        send_the_rest(api, upload, alice)
        path = upload.replace("uploads", "posts")
        assert api.processed(path, alice)["status"] == "ready"
        assert api.get(f"{path}/original", alice).content == HUGE


def test_a_flood_of_comments_leaves_room_to_delete(server: Server) -> None:
    """Texts leave what `--disk-reserve` says, and readiness tells what a comment would be told."""
    alice = someone("alice")
    with Api(server.url, LOCAL_EDITION) as api:
        wait_until_ready(server.url)
        post_ids = [api.ready(alice)["id"]]
        refused = api.upload(alice, LARGE)
        while refused.status_code == 201:
            post_ids.append(refused.json()["id"])
            refused = api.upload(alice, LARGE)
        assert len(post_ids) > 1
        path, content = f"/posts/{post_ids[0]}/comments", "\N{GRINNING FACE}" * 2000
        comment_id = api.comment(post_ids[0], alice)["id"]
        for _ in range(5000):
            refused = api.send("POST", path, alice, json={"content": content})
            if refused.status_code != 201:
                break
        assert_problem(refused, 507, "storage_full")
        assert_problem(api.get("/readyz"), 503, "not_ready")
        reserving = {"caption": "", "alt": "", "image": {"size": 10, "content_type": "image/jpeg"}}
        edit = {"caption": "another"}
        assert_problem(api.send("POST", "/posts", alice, json=reserving), 507, "storage_full")
        assert_problem(
            api.send("PATCH", f"/posts/{post_ids[0]}", alice, json=edit), 507, "storage_full"
        )
        assert_problem(
            api.send("PATCH", f"{path}/{comment_id}", alice, json={"content": "x"}),
            507,
            "storage_full",
        )

        assert api.send("DELETE", f"{path}/{comment_id}", alice).status_code == 204
        for post_id in reversed(post_ids[1:]):
            assert api.send("DELETE", f"/posts/{post_id}", alice).status_code == 204
        until_ready(api)
        assert api.comment(post_ids[0], alice)


def until_ready(api: Api) -> None:
    """An image that was deleted while it was being processed takes its room until that ends."""
    wait_until(lambda: api.get("/readyz").status_code == 200, every=0.1)


def send_the_rest(api: Api, upload: str, user: str) -> None:
    """As a client does. An image that was deleted while it was being processed takes its room
    until that ends, so there may be a 507 or two more."""

    def is_complete() -> bool:
        at = int(api.send("HEAD", upload, user, headers=TUS).headers["upload-offset"])
        rest = {**PIECE, "upload-offset": str(at)}
        answer = api.send("PATCH", upload, user, content=HUGE[at:], headers=rest)
        if answer.status_code == 204:
            return True
        assert_problem(answer, 507, "storage_full")
        return False

    wait_until(is_complete, every=0.1)
