"""Image work without its processes: what it makes of some bytes, in this one."""

from pathlib import Path

import msgspec

from image_poster.adapters.images.pipeline import render
from image_poster.adapters.images.protocol import Descriptors, RenderSettings
from image_poster.domain.images import (
    RENDITION_LARGE,
    RENDITION_SMALL,
    ImageRejectedError,
    RenderedImage,
)


def render_file(original: Path, folder: Path, settings: RenderSettings) -> RenderedImage:
    """Write both renditions of `original` into `folder`, with all the rights of the caller."""
    with (
        original.open("rb") as source,
        (folder / f"{RENDITION_SMALL}.jpg").open("wb") as small,
        (folder / f"{RENDITION_LARGE}.jpg").open("wb") as large,
    ):
        descriptors = Descriptors(source.fileno(), small.fileno(), large.fileno(), answers=-1)
        try:
            return render(descriptors, settings, lambda _needs: None)
        except ImageRejectedError as exc:
            if exc.code != "image_unreadable":
                raise
        rebuilding = msgspec.structs.replace(settings, rebuild=True)
        return render(descriptors, rebuilding, lambda _needs: None)
