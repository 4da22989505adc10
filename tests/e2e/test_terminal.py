"""No control character of a stranger reaches a terminal: from a log, or from the client's texts."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.servers import LOCAL, start
from support.shell import Shell

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# As structlog's console has them.
OWN_COLOURS = re.compile(r"\x1b\[\d+m")
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\r\x08"
POST_ID = "01K00000000000000000000000"
POST: dict[str, object] = {
    "id": POST_ID,
    "status": "ready",
    "caption": f"one{HOSTILE}\n01K00000000000000000000001  mallory",
    "alt": HOSTILE,
    "creator": f"bob{HOSTILE}",
    "creator_name": f"Bob{HOSTILE}\nforged",
    "created_at": "2026-11-25T12:00:00.000Z",
    "edited_at": None,
    "image": {
        "url": f"/images/{HOSTILE}",
        "width": 1,
        "height": 1,
        "placeholder": HOSTILE,
        "large": {"url": HOSTILE, "width": 1, "height": 1},
    },
    "failure": {"code": HOSTILE, "detail": HOSTILE},
    "moderation": {
        "id": HOSTILE,
        "action": "hide",
        "reason": HOSTILE,
        "text": f"why{HOSTILE}\nand why",
        "created_at": HOSTILE,
        "appeal": None,
    },
    "total_comments": 1,
    "latest_comments": [
        {
            "id": HOSTILE,
            "post_id": HOSTILE,
            "creator": HOSTILE,
            "creator_name": f"eve{HOSTILE}",
            "content": f"first{HOSTILE}\nsecond",
            "created_at": HOSTILE,
            "edited_at": None,
        }
    ],
}


ENTRY: dict[str, object] = {
    "kind": f"report{HOSTILE}",
    "post_id": POST_ID,
    "comment_id": None,
    "post": POST,
    "comment": None,
    "user": None,
    "reports": 2,
    "reasons": {f"spam{HOSTILE}": 2},
    "latest": [
        {
            "reporter": f"eve{HOSTILE}\nforged",
            "reason": HOSTILE,
            "text": f"look{HOSTILE}\nthere",
            "created_at": HOSTILE,
        }
    ],
    "appeal": {
        "text": f"art{HOSTILE}\n01K00000000000000000000001",
        "created_at": HOSTILE,
        "decision": {
            "id": "01K00000000000000000000002",
            "by": f"mia{HOSTILE}\n01K00000000000000000000001",
            "action": HOSTILE,
            "post_id": POST_ID,
            "comment_id": None,
            "user": None,
            "reason": HOSTILE,
            "text": f"why{HOSTILE}\n01K00000000000000000000001",
            "until": None,
            "created_at": HOSTILE,
        },
    },
    "match": None,
    "since": HOSTILE,
}
QUEUE: dict[str, object] = {"entries": [ENTRY], "next": HOSTILE}


class Hostile(BaseHTTPRequestHandler):
    """A service that others have taken over; what it writes begins with a byte order mark."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path)[2:4]
        page: dict[str, object] = {"posts": [POST], "next": HOSTILE}
        answer = POST if len(path) > 10 else page
        if path == "/moderation/queue":
            answer = QUEUE
        if "sort=new" in query:
            self._answer(400, {"code": HOSTILE, "title": HOSTILE, "detail": f"no{HOSTILE}"})
        else:
            self._answer(200, answer)

    def _answer(self, status: int, answer: dict[str, object]) -> None:
        body = b"\xef\xbb\xbf" + json.dumps(answer, ensure_ascii=False).encode()
        self.send_response(status)
        kind = "application/json" if status == 200 else "application/problem+json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Nothing."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("words", [("feed",), ("show", POST_ID)])
def test_what_others_wrote_is_printed_without_control_characters(
    hostile: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    shown = Shell(hostile, tmp_path).run(*words).stdout
    assert CONTROL.findall(shown) == []
    assert r"Bob\x1b]0;title\x07\x1b[2J\x9b31m\x7f\r\x08\nforged  1 comments" in shown
    # A line of a caption or comment does not look like a post.
    assert "\n    01K00000000000000000000001  mallory\n" in shown
    assert "\n      second\n" in shown
    assert "\n    and why\n" in shown


@pytest.mark.parametrize("words", [("feed",), ("show", POST_ID)])
def test_json_of_a_post_says_the_same_without_control_characters(
    hostile: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    shown = Shell(hostile, tmp_path).run(*words, "--json").stdout
    assert CONTROL.findall(shown) == []
    answer = json.loads(shown)
    assert answer.get("posts", [answer])[0]["caption"] == POST["caption"]


def test_the_moderation_queue_is_printed_without_control_characters(
    hostile: str, tmp_path: Path
) -> None:
    shell = Shell(hostile, tmp_path)
    shown = shell.run("moderation", "--as", "root").stdout
    assert CONTROL.findall(shown) == []
    first, *others = shown.splitlines()
    assert first.startswith(f"{POST_ID}  report\\x1b")
    # No line of another user's text looks like an entry.
    assert all(line.startswith(("    ", "more: ")) for line in others)
    assert r"      eve\x1b]0;title\x07\x1b[2J\x9b31m\x7f\r\x08\nforged: " in shown
    encoded = shell.run("moderation", "--as", "root", "--json").stdout
    assert CONTROL.findall(encoded) == []
    assert json.loads(encoded)["entries"][0]["latest"] == ENTRY["latest"]


def test_a_problem_is_printed_without_control_characters(hostile: str, tmp_path: Path) -> None:
    refused = Shell(hostile, tmp_path).run("feed", "--sort", "new", code=1)
    assert CONTROL.findall(refused.stderr) == []
    assert r"no\x1b]0;title" in refused.stderr


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_log_has_no_control_characters_of_a_stranger(tmp_path: Path, log_format: str) -> None:
    path = tmp_path / "log"
    with path.open("w") as log:
        flags = ("--data-dir", str(tmp_path / "data"), "--access-log", "--log-format", log_format)
        server = start(LOCAL, *flags, log=log)
        address = urlsplit(server.url)
        for target in (
            "/a%1B%5B2J%0Aforged%20line%9B%7F%C2%9B%E2%80%A8next",
            "/posts/%1B%5D0;x%07",
            "/images/%0D%0A/600.jpg",
        ):
            with socket.create_connection((address.hostname, address.port), timeout=60) as sent:
                sent.sendall(
                    f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: \x9b\r\n"
                    "User-Id: \x9bmallory\r\nConnection: close\r\n\r\n".encode("latin-1")
                )
                while sent.recv(65536):
                    pass
        server.stop()
    written = path.read_text(errors="surrogateescape")
    lines = OWN_COLOURS.sub("", written).split("\n")
    assert len([line for line in lines if "forged line" in line and "2J" in line]) == 1
    assert CONTROL.findall("".join(lines)) == []
    assert not any("\u2028" in line or "\udc9b" in line for line in lines)
