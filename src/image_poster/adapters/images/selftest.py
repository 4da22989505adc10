"""A self-test: each format can be decoded here, and its decoder is confined.

It renders a tiny image of each format like the images of users. The HEIC is stored here; the other
images are made for the test.
"""

import tempfile
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.images.confinement import Confinement
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.domain.images import ImageFormat, ImageRejectedError, ImageWorkFailedError
from image_poster.ports.images import Workspace

_SIDE = 16
# 16 x 16 pixels of grey, made once with pillow-heif: only tests encode HEIC, since the encoder is
# GPL (docs/decisions/0018) and a decoder without one shall do.
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAACYAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA"
    "GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAAD"
    "AIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAEAAAAAEA"
    "AAAQAAAAAf///9AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAALm1k"
    "YXQAAAAiKAGvEyEdlvhbUwmI6yxAuUxYKXlXIJNuwHivMoeOva+aYA=="
)


class SelfTest(NamedTuple):
    """The names of the formats that cannot be decoded on this machine, and the confinement of the
    decoders (None if no process could be started)."""

    unreadable: list[str]
    confinement: Confinement | None


async def self_test() -> SelfTest:
    """Render one image of each format and return the result."""
    renderer = VipsImageRenderer(RenderSettings(max_pixels=_SIDE * _SIDE))
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = [
                str(name) for name in ImageFormat if not await _is_read(renderer, name, folder)
            ]
    finally:
        await renderer.close()
    return SelfTest(found, renderer.confinement)


async def _is_read(renderer: VipsImageRenderer, image_format: ImageFormat, folder: str) -> bool:
    path = Path(folder, image_format.name)
    try:
        SAMPLES[image_format](path)
        await renderer.render(Workspace(path, path.parent))
    except (ImageRejectedError, ImageWorkFailedError, pyvips.Error, OSError):
        return False
    return True


def _vips(suffix: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        grey = pyvips.Image.black(_SIDE, _SIDE, bands=3).copy(interpretation="srgb") + 128
        path.write_bytes(grey.cast("uchar").write_to_buffer(suffix))

    return save


def _bmp(path: Path) -> None:
    PillowImage.new("RGB", (_SIDE, _SIDE), (128, 128, 128)).save(path, "BMP")


def _heic(path: Path) -> None:
    path.write_bytes(b64decode(_HEIC))


SAMPLES: dict[ImageFormat, Callable[[Path], None]] = {
    ImageFormat.JPEG: _vips(".jpg"),
    ImageFormat.PNG: _vips(".png"),
    ImageFormat.WEBP: _vips(".webp"),
    ImageFormat.GIF: _vips(".gif"),
    ImageFormat.AVIF: _vips(".avif"),
    ImageFormat.BMP: _bmp,
    ImageFormat.HEIC: _heic,
}
