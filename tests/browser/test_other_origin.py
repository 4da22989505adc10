"""A page of another origin, in Chromium, with what such pages are made of: `<img>`, `fetch`, Uppy
with tus and with XHR, tus-js-client (`make peers`)."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from support import origins, peers, samples
from support.api import LOCAL, Api, someone
from support.chaos import Weather, chaos
from support.servers import Server, local_server

pytestmark = peers.needs_peers
_SCRIPTS = {
    "uppy.mjs": "uppy/dist/uppy.min.mjs",
    "tus.js": "tus-js-client/dist/tus.min.js",
}
_PAGE = """<!doctype html><title>a page of somebody's</title><script src="tus.js"></script>
<script type="module">import * as found from "./uppy.mjs"; window.uppy = found</script>
<script>
function bytes(size) {
  const found = new Uint8Array(size)
  for (let at = 0; at < size; at++) found[at] = (at * 7) % 251
  found.set([0xff, 0xd8, 0xff, 0xe0])
  return found
}
function sized(size) {
  return new File([bytes(size)], "photo.jpg", {type: "image/jpeg", lastModified: 1})
}
function shown(url) {
  return new Promise(done => {
    const image = new Image()
    image.onload = () => done(image.width)
    image.src = url
  })
}
async function byUppy(url, plugin, options) {
  const made = new uppy.Uppy().use(uppy[plugin], {...options, endpoint: url})
  const image = await (await fetch("photo.jpg")).blob()
  made.addFile({name: "photo.jpg", type: "image/jpeg", data: image})
  const {successful, failed} = await made.upload()
  return {
    successful: successful.map(file => file.uploadURL ?? file.response.body.id),
    failed: failed.map(file => String(file.error)),
  }
}
async function sendRequest(method, url, headers, body) {
  const answer = await fetch(url, {method, headers, body})
  const problem = await answer.json()
  return {status: answer.status, code: problem.code, retry: answer.headers.get("retry-after")}
}
function resumable(url, user) {
  window.progress = 0
  window.first = null
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(sized(2000000), {
      endpoint: url + "/uploads", headers: {"user-id": user}, chunkSize: 200000,
      onProgress: sent => { window.progress = sent },
      onBeforeRequest: request => {
        if (request.getMethod() === "PATCH") window.first ??= request.getHeader("Upload-Offset")
      },
      onError: reject, onSuccess: () => resolve(upload.url),
    })
    upload.findPreviousUploads().then(found => {
      if (found.length) upload.resumeFromPreviousUpload(found[0])
      upload.start()
    })
  })
}
</script>
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin that serves the page."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(_PAGE)
    (folder / "photo.jpg").write_bytes(samples.jpeg(640, 480))
    for name, source in _SCRIPTS.items():
        (folder / name).write_bytes((peers.FOLDER / "node_modules" / source).read_bytes())
    with origins.origin(folder) as url:
        yield url


@pytest.fixture
def page(context: BrowserContext, origin: str) -> Page:
    opened = context.new_page()
    opened.goto(origin)
    opened.wait_for_function("window.uppy && window.tus")
    return opened


def test_an_image_that_was_shown_can_be_fetched(page: Page, api: Api) -> None:
    """The browser keeps what `<img>` got for a year, and would refuse the page that answer."""
    url = api.url + api.ready(someone())["image"]["url"]
    assert page.evaluate("url => shown(url)", url) == 600
    assert page.evaluate("async url => (await (await fetch(url)).blob()).size", url) > 100


@pytest.mark.parametrize(("plugin", "path"), [("Tus", "/uploads"), ("XHRUpload", "/posts")])
def test_uppy_posts_an_image(page: Page, api: Api, plugin: str, path: str) -> None:
    alice = someone("alice")
    headers = {"user-id": alice, "Idempotency-Key": "one"}
    options = {"headers": headers, **({"fieldName": "image"} if plugin == "XHRUpload" else {})}
    result = page.evaluate("given => byUppy(...given)", [api.url + path, plugin, options])
    assert result["failed"] == []
    (post_id,) = [str(url).rpartition("/")[2] for url in result["successful"]]
    assert api.processed(f"/posts/{post_id}", alice)["status"] == "ready"


def test_parallel_uploads_are_refused_with_a_sentence(page: Page, api: Api) -> None:
    alice = someone("alice")
    options = {"headers": {"user-id": alice}, "parallelUploads": 2}
    result = page.evaluate("given => byUppy(...given)", [f"{api.url}/uploads", "Tus", options])
    assert result["successful"] == []
    assert "concatenation_unsupported" in result["failed"][0]
    assert api.get("/me/posts", alice, params={"status": "unfinished"}).json()["posts"] == []


def test_a_page_that_is_reloaded_in_mid_upload_goes_on_where_it_was(
    page: Page, server: Server
) -> None:
    alice = someone("alice")
    with chaos(server.url, Weather(bytes_per_second=200_000)) as slow:
        page.evaluate("given => { resumable(...given) }", [slow.url, alice])
        page.wait_for_function("window.progress > 400000")
        page.reload()
        slow.change_weather(Weather())
        page.wait_for_function("window.tus")
        url = page.evaluate("given => resumable(...given)", [slow.url, alice])
        assert int(page.evaluate("window.first")) >= 200_000
        assert slow.counts.up < 1.5 * 2_000_000
    with Api(server.url, LOCAL) as api:
        path = f"/posts/{url.rpartition('/')[2]}/original"
        assert len(api.get(path, alice).content) == 2_000_000


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with small limits."""
    limits = ("--image-bytes", "5000", "--writes-per-minute", "1")
    with local_server(tmp_path_factory.mktemp("strict"), *limits) as server:
        yield server.url


def test_a_page_learns_why_it_is_refused(page: Page, strict: str) -> None:
    alice, script = {"user-id": someone("alice")}, "request => sendRequest(...request)"
    nobody = page.evaluate(script, ["POST", f"{strict}/posts", {}, None])
    assert (nobody["status"], nobody["code"]) == (401, "identity_required")
    tus = {"tus-resumable": "1.0.0", "upload-length": "6000"}
    large = page.evaluate(script, ["POST", f"{strict}/uploads", alice | tus, None])
    assert (large["status"], large["code"]) == (413, "upload_too_large")
    for _ in range(2):
        often = page.evaluate(script, ["POST", f"{strict}/uploads", alice | tus, None])
    assert (often["status"], often["code"]) == (429, "rate_limited")
    assert int(often["retry"]) > 0
