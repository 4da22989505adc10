"""Traces of one machine: one trace from a request to the publication of its image, through a crash,
with bad collectors, and without the extra."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from aws_local.ports import free_port
from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.collector import Collector, Span, running_collector
from support.proxies import PROXIES, Position, program
from support.receiver import running_receiver
from support.servers import LOCAL, local_server, refused, start
from support.trace_diagram import diagram
from support.waiting import wait_until
from trace_diagram import TRACEPARENT, traced_post

IMAGE = samples.jpeg(1200, 900)
STEPS = {"transaction", "image work", "fork", "decode", "encode", "publish files"}
DOCS = Path(__file__).parents[2] / "docs"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@contextmanager
def service(data: Path, collector: Collector, *flags: str) -> Iterator[Api]:
    with (
        local_server(data, "--otlp-endpoint", collector.url, *flags) as server,
        Api(server.url, LOCAL_EDITION) as api,
    ):
        yield api


def parent_of(trace: list[Span], name: str) -> str:
    """The name of the parent of the first span of this name."""
    child = next(span for span in trace if span.name == name)
    return next((span.name for span in trace if span.id == child.parent), "")


def test_one_trace_from_the_request_to_the_publication_and_the_webhook(
    tmp_path: Path, collector: Collector
) -> None:
    with (
        running_receiver() as receiver,
        service(tmp_path / "data", collector, "--webhook", receiver.url) as api,
    ):
        post = api.finished("alice", IMAGE, caption="a secret place")
        trace = collector.wait_for("POST /posts", *STEPS, "webhook")
    parents = {name: parent_of(trace, name) for name in {*STEPS, "webhook"}}
    assert parents == {
        "transaction": "POST /posts",
        "image work": "POST /posts",
        **dict.fromkeys(("fork", "decode", "encode", "publish files"), "image work"),
        "webhook": "image work",
    }
    assert len({span.trace for span in trace}) == 1
    (request,) = (span for span in trace if not span.parent)
    assert request.attributes["http.response.status_code"] == "201"
    assert request.attributes["http.route"] == "/posts"
    assert all(span.ended_ns >= span.began_ns for span in trace)
    text = str(collector.spans)
    assert "alice" not in text
    assert "secret" not in text
    assert post["status"] == "ready"


def test_a_traceparent_is_taken_over_and_returned(tmp_path: Path, collector: Collector) -> None:
    with service(tmp_path / "data", collector, "--trace-ratio", "0") as api:
        untraced = api.get("/posts")
        assert int(untraced.headers["traceparent"][-2:], 16) & 1 == 0  # not sampled
        answer = api.get("/posts", headers={"traceparent": PARENT})
        returned = re.fullmatch(r"00-(\w{32})-(\w{16})-01", answer.headers["traceparent"])
        assert returned is not None
        assert returned[1] == PARENT.split("-")[1]
        (span,) = collector.wait_for("GET /posts", "GET /posts")
        assert (span.id, span.parent) == (returned[2], PARENT.split("-")[2])
        twice = [("traceparent", PARENT), ("traceparent", PARENT)]
        assert api.http.get("/posts", headers=twice).headers["traceparent"][-2:] != "01"
        for invalid in ("", "00-0-0-01", "x" * 5000, f"{PARENT}, {PARENT}"):
            assert api.get("/posts", headers={"traceparent": invalid}).status_code == 200
    assert len(collector.spans) == 1


def test_image_work_after_a_crash_belongs_to_the_trace_of_its_request(
    tmp_path: Path, collector: Collector
) -> None:
    data = tmp_path / "data"
    flags = ("--data-dir", str(data), "--otlp-endpoint", collector.url)
    server = start(LOCAL, *flags, "--image-workers", "1")
    # The image of the first post keeps the only worker busy.
    with httpx.Client(base_url=server.url, headers={"user-id": "alice"}, timeout=60) as client:
        client.post("/posts", files={"image": samples.noisy(4000)})
        created = client.post("/posts", files={"image": IMAGE})
    _, trace_id, request_id, _ = created.headers["traceparent"].split("-")
    server.kill()
    with service(data, collector) as api:
        api.processed(f"/posts/{created.json()['id']}", "alice")
        wait_until(lambda: {span.name for span in collector.spans_of(trace_id)} >= STEPS)
    trace = collector.spans_of(trace_id)
    (work,) = (span for span in trace if span.name == "image work")
    assert work.parent == request_id  # whose own span may have ended with the server
    for step in ("fork", "decode", "encode", "publish files"):
        assert parent_of(trace, step) == "image work"


def test_each_worker_traces(tmp_path: Path, collector: Collector) -> None:
    with service(tmp_path / "data", collector, "--workers", "2") as api:
        api.finished("alice", IMAGE)
        collector.wait_for("POST /posts", *STEPS)


def test_a_collector_that_is_down_is_logged_once_and_costs_spans_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        flags = ("--data-dir", str(tmp_path / "data"), "--otlp-endpoint", "http://127.0.0.1:9")
        server = start(LOCAL, *flags, log=stream)
        with Api(server.url, LOCAL_EDITION) as api:
            for _ in range(3):
                api.finished("alice", IMAGE)
                wait_until(lambda: "cannot be reached" in log.read_text())
        assert server.stop(signal.SIGINT) == 0
    assert log.read_text().count("cannot be reached") == 1  # one worker, one failure period
    assert "Traceback" not in log.read_text()


def test_a_collector_that_hangs_delays_neither_requests_nor_the_stop(
    tmp_path: Path, collector: Collector
) -> None:
    collector.hangs = threading.Event()
    try:
        with service(tmp_path / "data", collector) as api:
            for _ in range(20):
                assert api.get("/posts").status_code == 200
    finally:
        collector.hangs.set()


# As docs/slow-post.md has them.
REMOVALS = {
    "nginx": ('proxy_set_header Forwarded "";', 'proxy_set_header traceparent "";'),
    "caddy": ("header_up -Forwarded", "header_up -traceparent"),
}


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_a_proxy_passes_a_traceparent_on_or_removes_it(
    tmp_path: Path, collector: Collector, name: str
) -> None:
    if program(name) is None:
        pytest.skip(f"{name} is not installed")
    line, removal = REMOVALS[name]
    positions = [
        Position(free_port()),
        Position(free_port(), changes={line: f"{line}\n{removal}"}),
    ]
    assert removal in (DOCS / "slow-post.md").read_text()
    flags = ("--trace-ratio", "0", "--trusted-proxies", "127.0.0.1")
    trace_ids = []
    with service(tmp_path / "data", collector, *flags) as api:
        upstream = api.url.removeprefix("http://")
        for number, position in enumerate(positions):
            folder = tmp_path / str(number)
            folder.mkdir()
            with (
                PROXIES[name](folder, upstream, position) as proxy,
                httpx.Client(base_url=proxy.url, verify=proxy.tls) as client,
            ):
                answer = client.get("/posts", headers={"traceparent": PARENT})
                trace_ids.append(answer.headers["traceparent"].split("-")[1])
    passed, removed = trace_ids
    assert passed == PARENT.split("-")[1]
    assert removed != passed


@pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")
def test_a_post_through_nginx_has_the_trace_of_the_page(tmp_path: Path) -> None:
    """As `scripts/trace_diagram.py` makes it for docs/slow-post.md."""
    trace = traced_post(tmp_path, IMAGE)
    lines = diagram(trace).splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert names[0] == "POST"
    assert {"transaction", "image", "fork", "decode", "encode", "publish", "webhook"} <= {*names}
    assert {span.trace for span in trace} == {TRACEPARENT.split("-")[1]}
    assert trace[0].parent == TRACEPARENT.split("-")[2]


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from image_poster.cli.main import main
main()
"""


def test_without_the_extra_the_start_ends_with_a_sentence(tmp_path: Path) -> None:
    flags = ("--data-dir", str(tmp_path / "data"), "--port", "0")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "serve", *flags, "--otlp-endpoint", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "IMAGE_POSTER_LOG_FORMAT": "json"},
    )
    assert done.returncode == 2, done
    assert "pip install 'image-poster-api[server,otel]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_without_the_setting_a_server_imports_no_module_of_opentelemetry(tmp_path: Path) -> None:
    """Nor does Litestar, which looks for it where the extra is installed."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        flags = ("--data-dir", str(tmp_path / "data"), "--workers", "2")
        server = start(LOCAL, *flags, log=stream, PYTHONPROFILEIMPORTTIME="1")
        with Api(server.url, LOCAL_EDITION) as api:
            answer = api.get("/posts")
            api.finished("alice", IMAGE)
        server.stop()
    assert "traceparent" not in answer.headers
    imports = [line.rpartition("|")[2].strip() for line in log.read_text().splitlines()]
    assert imports.count("litestar.app") >= 2  # the log has the imports of both workers
    assert [name for name in imports if "opentelemetry" in name] == []


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--otlp-endpoint", "localhost:4318"), "otlp_endpoint must be an http or https URL"),
        (("--trace-ratio", "1.5"), "trace_ratio must be from 0 to 1"),
    ],
)
def test_a_wrong_setting_stops_the_start(flags: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*flags)
