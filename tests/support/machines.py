"""Services that go away and come back, for what people do meanwhile."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import httpx
from playwright.sync_api import BrowserContext

from aws_local.ports import free_port
from support.api import AWS as AWS_EDITION
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, Edition
from support.servers import AWS, LOCAL, Server, start


def own_token(data: Path, *words: str) -> str:
    """The token that `image-poster token` prints for the server on that folder."""
    command = [sys.executable, "-m", "image_poster", "token", *words, "--data-dir", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Machine(Protocol):
    """A service at `url`; `credential` signs a user in, in the page's field `field`."""

    url: str
    edition: Edition
    field: str

    def credential(self, user: str) -> str: ...

    def go_away(self, context: BrowserContext) -> None:
        """Out of that browser's reach."""
        ...

    def come_back(self, context: BrowserContext) -> None: ...

    def kill(self) -> None: ...


class OneMachine:
    """A server that ends and comes back, on one folder and one port."""

    edition = LOCAL_EDITION
    field = "Name"

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self._flags = ("--data-dir", str(folder), "--port", str(free_port()), *flags)
        self.server = self.start()
        self.url = self.server.url

    def start(self) -> Server:
        self.server = start(LOCAL, *self._flags)
        return self.server

    def credential(self, user: str) -> str:
        return user

    def go_away(self, context: BrowserContext) -> None:
        del context
        self.server.kill()

    def come_back(self, context: BrowserContext) -> None:
        del context
        self.start()

    def kill(self) -> None:
        self.server.kill()

    def captions(self, user: str) -> list[str]:
        return captions(self, user)

    def comments(self, caption: str) -> list[str]:
        return comments(self, caption)


class OneMachineWithTokens(OneMachine):
    """The same with `--auth jwt` and tokens of its own."""

    field = "Token"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "--auth", "jwt")

    def credential(self, user: str) -> str:
        return own_token(self.folder, user)


class Cloud:
    """The AWS edition on the emulator, which forgets everything when it ends: here it is the
    browser that has no network."""

    edition = AWS_EDITION
    field = "Token"

    def __init__(self, folder: Path) -> None:
        del folder
        self._server = start(AWS)
        self.url = self._server.url

    def credential(self, user: str) -> str:
        return str(httpx.get(f"{self.url}/_token/{user}").json()["access_token"])

    def go_away(self, context: BrowserContext) -> None:
        context.set_offline(True)

    def come_back(self, context: BrowserContext) -> None:
        context.set_offline(False)

    def kill(self) -> None:
        self._server.stop()


def captions(machine: Machine, user: str) -> list[str]:
    """Of all of a user's posts, sorted."""
    with Api(machine.url, machine.edition) as api:
        return sorted(post["caption"] for post in api.feed(creator=user, limit=100)["posts"])


def comments(machine: Machine, caption: str) -> list[str]:
    """All of the one post with that caption."""
    with Api(machine.url, machine.edition) as api:
        posts = api.feed(limit=100, comments=10)["posts"]
    (post,) = [entry for entry in posts if entry["caption"] == caption]
    assert post["total_comments"] == len(post["latest_comments"])
    return [comment["content"] for comment in post["latest_comments"]]
