"""The example for Uppy of docs/examples.md, taken from the page and run in one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from support import origins, peers
from support.api import Api
from support.pages import blocks
from support.servers import Server

pytestmark = peers.needs_peers
DOCS = Path(__file__).parents[2] / "docs"
# npm's bundle of Uppy, under the names of the packages that it is made of.
PAGE = """<!doctype html><title>a page</title><input type="file" multiple>
<script type="importmap">
{"imports": {"@uppy/core": "./core.mjs", "@uppy/tus": "./tus.mjs"}}
</script>
<script type="module" src="example.mjs"></script>
"""


@pytest.fixture
def origin(tmp_path: Path, server: Server) -> Iterator[str]:
    """The origin that serves the page with the example."""
    (example,) = [block.code for block in blocks(DOCS / "examples.md") if block.runner == "browser"]
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "example.mjs").write_text(example.replace("http://127.0.0.1:8080", server.url))
    uppy = peers.FOLDER / "node_modules" / "uppy" / "dist" / "uppy.min.mjs"
    (tmp_path / "uppy.mjs").write_bytes(uppy.read_bytes())
    for module, name in (("core", "Uppy"), ("tus", "Tus")):
        (tmp_path / f"{module}.mjs").write_text(f'export {{ {name} as default }} from "./uppy.mjs"')
    with origins.origin(tmp_path) as url:
        yield url


def test_the_uppy_example_posts_the_chosen_image_with_a_key(
    context: BrowserContext, origin: str, api: Api
) -> None:
    page = context.new_page()
    created = []
    page.on("request", lambda sent: created.append(sent) if sent.method == "POST" else None)
    page.goto(origin, wait_until="load")
    with page.expect_console_message(lambda message: "/uploads/" in message.text) as message:
        page.set_input_files("input", DOCS / "collection" / "photo.jpg")
    post_id = message.value.text.rpartition("/")[2]
    post = api.processed(f"/posts/{post_id}", "alice")
    assert (post["status"], post["caption"]) == ("ready", "With Uppy")
    (creation,) = created
    assert len(creation.headers["idempotency-key"]) == 36
