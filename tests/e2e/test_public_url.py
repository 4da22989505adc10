"""The service below a path of a host, behind nginx and Caddy with the files of `deploy/` and
docs/proxies.md. They remove the path from requests or leave it. The usual clients are used."""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from tusclient.client import TusClient

from aws_local.ports import free_port
from image_poster.client import ImagePosterClient
from image_poster.client.journal import RequestJournal
from support import path_proxies, peers, samples
from support.api import LOCAL, Api, someone
from support.servers import local_server
from support.shell import Shell

IMAGE = samples.from_phone(6, 900, 600)
PLACES = [
    pytest.param(
        (name, strips),
        id=f"{name}-{'strips' if strips else 'leaves'}",
        marks=pytest.mark.skipif(
            bool(path_proxies.why_not(name)), reason=path_proxies.why_not(name)
        ),
    )
    for name in ("nginx", "caddy")
    for strips in (True, False)
]


@pytest.fixture(scope="module", params=PLACES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service's URL for its clients."""
    name, strips = request.param
    folder, port = tmp_path_factory.mktemp("proxied"), free_port()
    public = f"http://127.0.0.1:{port}/api"
    flags = ("--public-url", public, "--trusted-proxies", "127.0.0.1")
    with (
        local_server(folder / "data", *flags) as server,
        path_proxies.proxy(name, folder / "proxy", port, server.url, strips=strips),
    ):
        yield public


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(IMAGE)
    return path


def assert_posted(url: str, post_url: str, user: str) -> None:
    """And the image is where the post says."""
    assert post_url.startswith(f"{url}/posts/")
    with Api(url, LOCAL) as api:
        post = api.processed(post_url, user)
    assert post["status"] == "ready"
    assert post["image"]["large"]["url"].startswith(f"{url}/images/")
    assert httpx.get(post["image"]["url"]).headers["content-type"] == "image/jpeg"


def test_tuspy(url: str) -> None:
    user = someone()
    client = TusClient(f"{url}/uploads", {"user-id": user})
    uploader = client.uploader(file_stream=io.BytesIO(IMAGE), chunk_size=100_000)
    uploader.upload()
    assert_posted(url, str(uploader.url).replace("/uploads/", "/posts/"), user)


@peers.needs_peers
def test_tus_js_client(url: str, photo: Path) -> None:
    user = someone()
    script = str(peers.FOLDER / "upload.mjs")
    done = subprocess.run(
        ["node", script, f"{url}/uploads", str(photo), user],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_posted(url, done.stdout.strip().replace("/uploads/", "/posts/"), user)


def test_the_python_client(url: str, photo: Path, tmp_path: Path) -> None:
    user = someone()
    with ImagePosterClient(url, user, journal=RequestJournal(tmp_path / "state")) as client:
        post = client.post(photo, caption="by a path")
        assert client.wait_until_processed(post.id).status == "ready"
        assert client.edit(post.id, caption="edited").caption == "edited"
        comment = client.comment(post.id, "Nice!")
        assert client.comments(post.id).comments == [comment]
        (page,) = client.feed(creator=user, limit=1, sort="new").posts
        assert page.image is not None
        assert page.image.url.startswith(f"{url}/images/")
        assert_posted(url, f"{url}/posts/{post.id}", user)
        client.delete(post.id)


def test_the_commands(url: str, photo: Path, tmp_path: Path) -> None:
    shell = Shell(url, tmp_path)
    as_user = ("--as", shell.user)
    post = json.loads(shell.run("post", photo, *as_user, "--json").stdout)
    assert post["image"]["url"].startswith(f"{url}/images/")
    assert "Nice!" in shell.run("comment", post["id"], "Nice!", *as_user).stdout
    assert f"{url}/images/" in shell.run("show", post["id"]).stdout
    assert post["id"] in shell.run("feed", "--sort", "new").stdout
    shell.run("delete", post["id"], *as_user)


def test_the_signed_url_and_links_of_pages(url: str) -> None:
    user, image = someone(), {"size": len(IMAGE), "content_type": "image/jpeg"}
    answer = httpx.post(f"{url}/posts", json={"image": image}, headers={"user-id": user})
    put = answer.json()["upload"]["put"]
    assert put["url"].startswith(f"{url}/uploads/")
    assert httpx.put(put["url"], content=IMAGE, headers=put["headers"]).status_code == 204
    assert_posted(url, answer.headers["location"], user)
    page = httpx.get(f"{url}/posts", params={"limit": 1, "sort": "new"})
    if page.json()["next"]:
        assert page.links["next"]["url"].startswith(f"{url}/posts?")
        assert httpx.get(page.links["next"]["url"]).status_code == 200


def test_the_documents(url: str) -> None:
    docs = httpx.get(f"{url}/docs").text
    linked = re.findall(r'(?:href|src|url:) ?=?"([^"]+)"', docs)
    assert len(linked) == 4
    for path in linked:
        assert httpx.get(urljoin(url, path)).status_code == 200
    (document,) = [path for path in linked if path.endswith("openapi.json")]
    assert httpx.get(urljoin(url, document)).json()["servers"] == [{"url": url}]


def test_the_gallery_loads_what_it_is_made_of(url: str) -> None:
    page = httpx.get(f"{url}/")
    assert page.status_code == 200
    linked = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert linked
    for path in linked:
        assert httpx.get(urljoin(f"{url}/", path)).status_code == 200, path
