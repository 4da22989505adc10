"""The shape of all calls: a generator of steps, which each client executes in its way.

`Call` turns such a generator into a method. `BlockingRunner` and `AsyncRunner` are the two ways to
execute the steps; the clients add the network to them.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing
from functools import update_wrapper
from secrets import token_hex
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from urllib.parse import urlencode

import msgspec

from image_poster.client.results import Item, ListPage, PostResult
from image_poster.client.retries import Outcome, Reply, Send, Step, Steps, decode, exchange

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")
JSON = {"content-type": "application/json"}


class BlockingRunner(ABC):
    """Executes steps while the caller waits."""

    @abstractmethod
    def execute(self, step: Step) -> Outcome | None:
        """Execute one step, and return its result by the table in `retries`."""

    def run(self, steps: Steps[Value]) -> Value:
        """Execute the steps of a call."""
        answer: object = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                answer = self.execute(step)

    def iterate(self, call: Callable[..., ListPage[Item]], **arguments: Any) -> Iterator[Item]:  # noqa: ANN401 - of `call`
        """The items of all pages of a list: `client.iterate(client.my_posts, status="failed")`."""
        while True:
            page = call(**arguments)
            yield from page.items
            if page.next is None:
                return
            arguments["cursor"] = page.next


class AsyncRunner(ABC):
    """Executes steps on an asyncio event loop."""

    @abstractmethod
    async def execute(self, step: Step) -> Outcome | None:
        """Execute one step, and return its result by the table in `retries`."""

    async def run(self, steps: Steps[Value]) -> Value:
        """Execute the steps of a call."""
        answer: object = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                answer = await self.execute(step)

    async def iterate(
        self,
        call: Callable[..., Coroutine[Any, Any, ListPage[Item]]],
        **arguments: Any,  # noqa: ANN401 - of `call`
    ) -> AsyncIterator[Item]:
        """As `BlockingRunner.iterate`, for `async for`."""
        while True:
            page = await call(**arguments)
            for item in page.items:
                yield item
            if page.next is None:
                return
            arguments["cursor"] = page.next


class Call(Generic[Arguments, Value]):
    """A method of both clients, defined by a generator of steps. On the blocking client, the method
    returns the generator's value; on the asynchronous one, a coroutine that returns it."""

    def __init__(self, steps: Callable[Concatenate[Any, Arguments], Steps[Value]]) -> None:
        self._steps = steps

    @overload
    def __get__(
        self, client: None, kind: type
    ) -> Callable[Concatenate[Any, Arguments], Steps[Value]]: ...
    @overload
    def __get__(self, client: "BlockingRunner", kind: type) -> Callable[Arguments, Value]: ...
    @overload
    def __get__(
        self, client: "AsyncRunner", kind: type
    ) -> Callable[Arguments, Coroutine[Any, Any, Value]]: ...
    def __get__(self, client: Any, kind: type) -> Any:
        if client is None:
            return self._steps

        def method(*args: Arguments.args, **kwargs: Arguments.kwargs) -> object:
            return client.run(self._steps(client, *args, **kwargs))

        return update_wrapper(method, self._steps)


def read(path: str, kind: type[Value], **query: object) -> Steps[Value]:
    """Get a resource. Arguments that are None are left out of the query."""
    text = urlencode({name: value for name, value in query.items() if value is not None})
    return decode((yield from exchange(Send("GET", f"{path}?{text}" if text else path))), kind)


def create(
    path: str, kind: type[Value], idempotency_key: str | None, **members: object
) -> Steps[Value]:
    """Post a JSON object, once whatever the retries, and return the answer. Members that are None
    are left out."""
    headers = {**JSON, "idempotency-key": idempotency_key or token_hex(16)}
    reply = yield from exchange(Send("POST", path, headers, encode_members(**members)))
    return decode(reply, kind)


def encode_members(**members: object) -> bytes:
    """A JSON object; members that are None are left out."""
    return msgspec.json.encode({name: item for name, item in members.items() if item is not None})


def read_post(path: str) -> Steps[PostResult]:
    """Get a post, with all of its stored latest comments."""
    return decode_post((yield from exchange(Send("GET", f"{path}?comments=10"))))


def decode_post(reply: Reply) -> PostResult:
    """The post in an answer, with its ETag."""
    return msgspec.structs.replace(decode(reply, PostResult), etag=reply.headers.get("etag"))
