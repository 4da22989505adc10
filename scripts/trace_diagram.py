"""Write the diagram of docs/slow-post.md anew: a real trace of a post from a phone through nginx,
the service and a decoder. Run it with the tools of `make tools-debian` and the extra `otel`:
`PYTHONPATH=tests:infra python scripts/trace_diagram.py`."""

import re
import tempfile
from pathlib import Path

import httpx

from support import samples
from support.api import LOCAL, Api
from support.collector import Span, running_collector
from support.proxies import nginx
from support.receiver import running_receiver
from support.servers import local_server
from support.trace_diagram import diagram

PAGE = Path(__file__).parents[1] / "docs" / "slow-post.md"
# As a phone with OpenTelemetry sends it.
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STEPS = ("POST /posts", "image work", "fork", "decode", "encode", "publish files", "webhook")


def traced_post(folder: Path, image: bytes) -> list[Span]:
    """The trace of one post through nginx. A first post warms the service up."""
    with running_collector() as collector, running_receiver() as receiver:
        flags = ("--otlp-endpoint", collector.url, "--webhook", receiver.url, "--trace-ratio", "0")
        with (
            local_server(folder / "data", *flags, "--trusted-proxies", "127.0.0.1") as server,
            Api(server.url, LOCAL) as api,
            nginx(folder, server.url.removeprefix("http://")) as proxy,
            httpx.Client(base_url=proxy.url, verify=proxy.tls, timeout=60) as phone,
        ):
            api.finished("bob", image)
            headers = {"user-id": "alice", "traceparent": TRACEPARENT}
            answer = phone.post("/posts", files={"image": image}, headers=headers)
            answer.raise_for_status()
            return collector.wait_for("POST /posts", *STEPS)


def main() -> None:
    """Replace the diagram in the page."""
    with tempfile.TemporaryDirectory() as folder:
        text = diagram(traced_post(Path(folder), samples.jpeg(4000, 3000)))
    page = PAGE.read_text()
    PAGE.write_text(re.sub(r"(?s)(<!-- trace -->\n```\n).*?(\n```)", rf"\g<1>{text}\g<2>", page))
    print(text)


if __name__ == "__main__":
    main()
