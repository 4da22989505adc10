"""Renditions of some bytes, and ways to look at them."""

import tempfile
from pathlib import Path

from PIL import Image

from image_poster.adapters.images.protocol import RenderSettings
from image_poster.domain.images import RenderedImage
from support import samples
from support.rendering import render_file


class RenderedFiles:
    """Both renditions of some bytes, as served and as pixels."""

    def __init__(self, folder: Path, content: bytes, settings: RenderSettings) -> None:
        original = folder / "original"
        original.write_bytes(content)
        self.facts: RenderedImage = render_file(original, folder, settings)
        self.small_bytes = (folder / "600.jpg").read_bytes()
        self.large_bytes = (folder / "1600.jpg").read_bytes()
        self.small = samples.opened(self.small_bytes)
        self.large = samples.opened(self.large_bytes)


def render(content: bytes) -> RenderedFiles:
    """Render bytes with the usual settings. Raises `ImageRejectedError`."""
    with tempfile.TemporaryDirectory() as folder:
        return RenderedFiles(Path(folder), content, RenderSettings())


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """Red, green and blue at a place."""
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def colour(of: RenderedFiles) -> tuple[int, ...]:
    """In the middle of the small rendition."""
    return pixel(of.small, 300, 300)


def near(actual: tuple[int, ...], expected: tuple[int, ...], by: int = 12) -> bool:
    """True if no channel is off by more than `by`, of 255."""
    return all(abs(level - other) <= by for level, other in zip(actual, expected, strict=True))
