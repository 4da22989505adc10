"""Steps: the I/O that the client's logic requests. The logic is generators of steps and does no I/O
itself.

    Read       bytes of the upload               ->  bytes.
    Send       a request                         ->  Reply, or ConnectionFailure.
    Pause      time to wait                      ->  nothing.
    Remember   an upload's state to store        ->  nothing.

`sync` and `asynchronous` execute the steps, each in its way.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec


class Read(NamedTuple):
    """At most `size` bytes from `offset` on; fewer only at the end."""

    offset: int
    size: int


class Send(NamedTuple):
    """A request. Its answer may take `seconds` longer than `Policy.silence`. `sent` is called with
    the number of body bytes passed to the network."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    seconds: float = 0.0
    sent: Callable[[int], None] | None = None


class Pause(NamedTuple):
    """Wait for so many seconds."""

    seconds: float


class UploadState(msgspec.Struct, frozen=True):
    """The state that an upload needs to resume after a restart: the idempotency key of its
    creation, and its location once known. `complete`: all its bytes have arrived. `since`: the time
    of the creation request (seconds since 1970); 0 for none."""

    key: str
    location: str = ""
    complete: bool = False
    since: float = 0.0


class Remember(NamedTuple):
    """Store this state, so that a later process can resume from it."""

    state: UploadState


class Reply(NamedTuple):
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ConnectionFailure(NamedTuple):
    """No answer came; `reason` is for people. `reached`: there was a connection, which broke.
    `permanent`: a retry will not help."""

    reason: str
    reached: bool = True
    permanent: bool = False


Step: TypeAlias = Read | Send | Pause | Remember
Outcome: TypeAlias = Reply | ConnectionFailure
Value = TypeVar("Value")
# What is sent in is what the table above says for each step.
Steps: TypeAlias = Generator[Step, Any, Value]
