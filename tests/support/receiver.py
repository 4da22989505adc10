"""A receiver of webhooks that checks each signature with the specification's own package."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from support.loopback import answering_posts
from support.shell import Shell
from support.waiting import wait_until

Reply = Callable[[BaseHTTPRequestHandler], None]


def accept(handler: BaseHTTPRequestHandler) -> None:
    """Answer 204."""
    handler.send_response(204)
    handler.end_headers()


@dataclass
class ReceivedEvent:
    """A webhook with a valid signature."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


@dataclass
class Receiver:
    """The webhooks that came, the invalid ones, and the answer to each. `secret` is the one to
    check by; without one, signatures are not checked."""

    url: str = ""
    secret: str = ""
    reply: Reply = accept
    events: list[ReceivedEvent] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)

    def of_type(self, type_: str) -> list[ReceivedEvent]:
        """The events of this type, in the order of their arrival."""
        return [event for event in list(self.events) if event.type == type_]

    def wait_for(self, type_: str, number: int = 1) -> ReceivedEvent:
        """The newest event of this type, once there are `number`."""
        wait_until(
            lambda: len(self.of_type(type_)) >= number,
            message=lambda: f"{type_}: {self.events} {self.invalid}",
        )
        return self.of_type(type_)[-1]

    def receive(self, handler: BaseHTTPRequestHandler) -> None:
        """Check one request, and answer it."""
        body = handler.rfile.read(int(handler.headers["content-length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        try:
            event = Webhook(self.secret).verify(body, headers)
        except Exception as exc:  # noqa: BLE001 - each fault fails a test
            self.invalid.append(f"{exc!r}: {headers} {body!r}")
        else:
            self.events.append(ReceivedEvent(headers["webhook-id"], **event))
        self.reply(handler)

    def learn_secret(self, shell: Shell, data_dir: Path) -> None:
        """Ask the command for the secret."""
        secret = shell.run("webhooks", "secret", "--data-dir", data_dir)
        self.secret = secret.stdout.strip()


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """A receiver on a free port of the loopback interface."""
    receiver = Receiver()
    with answering_posts(receiver.receive) as url:
        receiver.url = f"{url}/events"
        yield receiver
