"""The work of one image's child process, from the fork to its end.

The child confines itself before it reads a byte, and estimates the image's memory from the header.
It waits until the server grants that memory; only then does a decoder begin (docs/decisions/0020).
"""

import os
from collections.abc import Callable

from image_poster.adapters.images import confinement
from image_poster.adapters.images.protocol import (
    GO_ON,
    Descriptors,
    Message,
    RenderSettings,
    line_of,
)
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError

# Beside what an image takes: the stacks and arenas of threads, which are reserved, not used.
_RESERVED_BYTES = 320_000_000
_MAX_TEXT = 1000

AcquireMemory = Callable[[int], None]
# Renders an image; it calls the third argument with the bytes that it needs before it decodes.
Work = Callable[[Descriptors, RenderSettings, AcquireMemory], Message]


def run(work: Work, given: Descriptors, settings: RenderSettings, parent: int) -> None:
    """Do the work of one image, confined, and send the result. The caller ends the process.

    `parent` is the process id of the fork server: when it ends, the kernel ends this process.
    """
    confinement.end_with_parent(parent)
    os.setsid()
    mapped = confinement.mapped_bytes() + _RESERVED_BYTES
    found = confinement.confine(settings.cpu_seconds, mapped + settings.memory_bytes)

    def acquire_memory(needs: int) -> None:
        _say(given.answers, Message(needs=needs, confinement=found))
        if os.read(given.answers, len(GO_ON)) != GO_ON:
            os._exit(0)  # nobody waits for this image any more
        confinement.bound_address_space(mapped + needs)

    _say(given.answers, _answer(work, given, settings, acquire_memory))


def _answer(
    work: Work, given: Descriptors, settings: RenderSettings, acquire_memory: AcquireMemory
) -> Message:
    """Return the result of the work; any exception becomes a message."""
    try:
        return work(given, settings, acquire_memory)
    except ImageRejectedError as exc:
        return Message(rejected=(exc.code, exc.detail[:_MAX_TEXT]))
    except ImageWorkFailedError as exc:
        return Message(broke=str(exc)[:_MAX_TEXT])
    except Exception as exc:  # noqa: BLE001 - the server decides what to do about it
        return Message(broke=f"{type(exc).__name__}: {exc}"[:_MAX_TEXT])


def _say(answers: int, message: Message) -> None:
    os.write(answers, line_of(message))
