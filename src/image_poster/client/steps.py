"""What the client's logic asks of the world. It is generators of steps and does no I/O itself:

    Read       bytes of what is uploaded         ->  bytes
    Send       a request                         ->  Reply, or Cut
    Pause      time to pass                      ->  nothing
    Remember   an upload's state to be kept      ->  nothing

`sync` and `asynchronous` carry the steps out, each in its way.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec


class Read(NamedTuple):
    """At most `size` bytes from `offset` on; fewer only at the end."""

    offset: int
    size: int


class Send(NamedTuple):
    """A request. Its answer may take `seconds` longer than `Policy.silence`; `sent` is called with
    how many bytes of the body have been handed to the network."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    seconds: float = 0.0
    sent: Callable[[int], None] | None = None


class Pause(NamedTuple):
    """Let so many seconds pass."""

    seconds: float


class UploadState(msgspec.Struct, frozen=True):
    """All that is needed to go on after a restart: the key its creation is asked for with, where
    the upload is once that is known, whether all its bytes have arrived, and `since` when (seconds
    since 1970) its creation has been asked for; 0 for never."""

    key: str
    location: str = ""
    complete: bool = False
    since: float = 0.0


class Remember(NamedTuple):
    """Keep this state, so that a later process can go on from it."""

    state: UploadState


class Reply(NamedTuple):
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ConnectionFailure(NamedTuple):
    """There was no answer; `reason` tells a person why. `reached`: there was a connection, which
    broke; `permanent`: asking again will not help."""

    reason: str
    reached: bool = True
    permanent: bool = False


Step: TypeAlias = Read | Send | Pause | Remember
Outcome: TypeAlias = Reply | ConnectionFailure
Value = TypeVar("Value")
# What is sent in is what the table above says for each step.
Steps: TypeAlias = Generator[Step, Any, Value]
