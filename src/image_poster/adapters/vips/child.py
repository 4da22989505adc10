"""What runs in a renderer's child process: one request a line in; `begun` and one answer, a line
each, out.

A process of its own, since a decoder that crashes, hangs or eats memory then costs one image and
nothing else (docs/decisions/0005). It ends when its standard input does, so none outlives its
parent, however that died.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec
import pyvips

from image_poster.adapters.vips.pipeline import RenderSettings, render
from image_poster.domain.images import ImageRejectedError, RenderedImage

# Requests are answered first, images after: the children yield the processor to the server.
_NICENESS = 10
# Said before an image is opened: if the process ends after it, that may be the image's fault.
BEGUN = b"begun\n"
# The parent ends a child that takes too long; this is for a child whose parent is gone.
_ALARM_SECONDS = 300


class RenderRequest(msgspec.Struct, frozen=True):
    """One image to render; paths are local."""

    original: str
    folder: str
    settings: RenderSettings


class RenderAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of the three: what was made, why the image was rejected, or what broke."""

    rendered: RenderedImage | None = None
    rejected: tuple[str, str] | None = None
    broke: str | None = None


def answer(request: RenderRequest) -> RenderAnswer:
    """Render, and put whatever happens into the answer."""
    try:
        rendered = render(Path(request.original), Path(request.folder), request.settings)
    except ImageRejectedError as exc:
        return RenderAnswer(rejected=(exc.code, exc.detail))
    except Exception as exc:  # noqa: BLE001 - the parent decides what to do about it
        return RenderAnswer(broke=f"{type(exc).__name__}: {exc}")
    return RenderAnswer(rendered=rendered)


def main() -> None:
    """Serve until standard input ends."""
    os.nice(_NICENESS)
    _be_the_first_to_go()
    pyvips.cache_set_max(0)  # each image comes once
    decoder = msgspec.json.Decoder(RenderRequest)
    for line in sys.stdin.buffer:
        signal.alarm(_ALARM_SECONDS)
        _say(BEGUN)
        _say(msgspec.json.encode(answer(decoder.decode(line))) + b"\n")
        signal.alarm(0)


def _be_the_first_to_go() -> None:
    """When memory runs out, the kernel ends a child and not the server (proc(5), Linux only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _say(line: bytes) -> None:
    try:
        os.write(sys.stdout.fileno(), line)
    except BrokenPipeError:
        sys.exit()  # the parent is gone, and what was made with it


if __name__ == "__main__":
    main()
