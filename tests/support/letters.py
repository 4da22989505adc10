"""Surprises of queues and streams that AWS documents: in memory, and as a proxy.

`FakeQueue` and `FakeStream` have the methods of botocore's clients that we use.
`answers_empty_first` stands between a command and the emulator, which is never empty where AWS may
be. `answers_at_once` does not let the emulator wait for messages.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from botocore.exceptions import ClientError

Message = dict[str, Any]


@dataclass
class FakeQueue:
    """SQS, as its developer guide documents short polling and visibility timeouts.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
    and .../sqs-visibility-timeout.html

    A receive may be empty though messages wait. A message that is neither deleted nor released
    within its visibility timeout is received again, by a new handle.
    """

    bodies: dict[str, str] = field(default_factory=dict)
    empty: list[bool] = field(default_factory=list)  # which of the next receives are
    handles: dict[str, str] = field(default_factory=dict)  # the newest handle of each
    waits: list[int] = field(default_factory=list)
    at_once: int = 10
    receives: int = 0

    def receive_message(self, **words: Any) -> dict[str, Any]:
        self.receives += 1
        self.waits.append(int(words.get("WaitTimeSeconds", 0)))
        if self.empty and self.empty.pop(0):
            return {}
        most = min(self.at_once, int(words["MaxNumberOfMessages"]))
        names = [name for name in self.bodies if name not in self.handles][:most]
        self.handles |= {name: f"{name} {self.receives}" for name in names}
        messages = [
            {"MessageId": name, "ReceiptHandle": self.handles[name], "Body": self.bodies[name]}
            for name in names
        ]
        return {"Messages": messages} if messages else {}

    def time_passes(self) -> None:
        """Longer than a visibility timeout."""
        self.handles.clear()

    def delete_message(self, *, ReceiptHandle: str, **_: Any) -> None:  # noqa: N803
        name = ReceiptHandle.split(maxsplit=1)[0]
        # "If you use an old receipt handle … the message might not be deleted."
        if self.handles.get(name) == ReceiptHandle:
            del self.bodies[name], self.handles[name]

    def change_message_visibility(self, *, ReceiptHandle: str, **_: Any) -> None:  # noqa: N803
        name = ReceiptHandle.split(maxsplit=1)[0]
        if self.handles.get(name) == ReceiptHandle:
            del self.handles[name]


@dataclass
class FakeStream:
    """One shard. https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html:
    pages may be empty, anywhere; iterators go on until the shard is closed."""

    numbers: list[int]
    page: int = 2
    empty_before: int = 3
    closed: bool = False
    trimmed_below: int = 0
    calls: int = 0

    def get_shard_iterator(self, *, SequenceNumber: str, **_: Any) -> dict[str, str]:  # noqa: N803
        if int(SequenceNumber) < self.trimmed_below:
            raise ClientError({"Error": {"Code": "TrimmedDataAccessException"}}, "GetShardIterator")
        at = sum(number < int(SequenceNumber) for number in self.numbers)
        return {"ShardIterator": f"{at} 0"}

    def get_records(self, *, ShardIterator: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.calls += 1
        at, emptied = map(int, ShardIterator.split())
        if emptied < self.empty_before:
            return {"Records": [], "NextShardIterator": f"{at} {emptied + 1}"}
        page = self.numbers[at : at + self.page]
        answer: dict[str, Any] = {
            "Records": [{"dynamodb": {"SequenceNumber": str(number)}} for number in page]
        }
        if at + len(page) < len(self.numbers) or not self.closed:
            answer["NextShardIterator"] = f"{at + len(page)} 0"
        return answer


_RECEIVE, _READ = "AmazonSQS.ReceiveMessage", "DynamoDBStreams_20120810.GetRecords"


class _AtOnce(BaseHTTPRequestHandler):
    """A receive waits for nothing."""

    upstream = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        target = self.headers.get("x-amz-target", "")
        if target == _RECEIVE:
            self._receive(json.loads(body))
        elif target == _READ:
            self._read(json.loads(body))
        else:
            self._answer(self._passed_on(body))

    def _receive(self, request: dict[str, Any]) -> None:
        self._answer(self._passed_on(json.dumps({**request, "WaitTimeSeconds": 0}).encode()))

    def _read(self, request: dict[str, Any]) -> None:
        self._answer(self._passed_on(json.dumps(request).encode()))

    def _passed_on(self, body: bytes) -> bytes:
        headers = {
            k: v for k, v in self.headers.items() if k.lower() not in {"content-length", "host"}
        }
        answer = httpx.post(self.upstream + self.path, content=body, headers=headers, timeout=60)
        self.status, self.media_type = answer.status_code, answer.headers["content-type"]
        return answer.content

    status, media_type = 200, "application/x-amz-json-1.0"

    def _answer(self, body: bytes) -> None:
        self.send_response(self.status)
        self.send_header("content-type", self.media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _EmptyFirst(_AtOnce):
    """Every other answer of the two is empty, and the others hold one thing each."""

    emptied: set[str]

    def _receive(self, request: dict[str, Any]) -> None:
        if self._is_second("receive"):
            super()._receive({**request, "MaxNumberOfMessages": 1})
        else:
            self._answer(b"{}")

    def _read(self, request: dict[str, Any]) -> None:
        if self._is_second(request["ShardIterator"]):
            super()._read({**request, "Limit": 1})
            return
        empty = {"Records": [], "NextShardIterator": request["ShardIterator"]}
        self._answer(json.dumps(empty).encode())

    def _is_second(self, name: str) -> bool:
        second = name in self.emptied
        self.emptied ^= {name}
        return second


def answers_empty_first(upstream: str) -> AbstractContextManager[str]:
    """The address of a proxy to the emulator whose queues and streams answer empty first."""
    return _proxy(type("Handler", (_EmptyFirst,), {"upstream": upstream, "emptied": set[str]()}))


def answers_at_once(upstream: str) -> AbstractContextManager[str]:
    """The address of a proxy to the emulator whose queues let nobody wait."""
    return _proxy(type("Handler", (_AtOnce,), {"upstream": upstream}))


@contextmanager
def _proxy(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
