"""A self-test: each format can be decoded here, and its decoder is confined.

It renders a tiny image of each format like the images of users. The HEIC is stored here; the other
images are made for the test.
"""

import tempfile
from base64 import b64decode
from pathlib import Path
from typing import NamedTuple

from PIL import Image

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
            unreadable = [
                str(name) for name in ImageFormat if not await _is_read(renderer, name, folder)
            ]
    finally:
        await renderer.close()
    return SelfTest(unreadable, renderer.confinement)


async def _is_read(renderer: VipsImageRenderer, image_format: ImageFormat, folder: str) -> bool:
    path = Path(folder, image_format.name)
    try:
        _write_sample(image_format, path)
        await renderer.render(Workspace(path, path.parent))
    except (ImageRejectedError, ImageWorkFailedError, OSError):
        return False
    return True


def _write_sample(image_format: ImageFormat, path: Path) -> None:
    if image_format is ImageFormat.HEIC:
        path.write_bytes(b64decode(_HEIC))
    else:
        Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128)).save(path, image_format.name)
