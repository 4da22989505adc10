"""Whether each format can really be read here: a tiny image of each is made, or in the case of
HEIC kept, and decoded."""

import tempfile
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.vips.decoders import decode
from image_poster.domain.images import ImageFormat, ImageRejectedError

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


def unreadable_formats() -> list[str]:
    """The formats that cannot be decoded on this machine, by name."""
    with tempfile.TemporaryDirectory() as folder:
        return [name for name in ImageFormat if not _is_read(name, Path(folder, name.name))]


def _is_read(image_format: ImageFormat, path: Path) -> bool:
    try:
        SAMPLES[image_format](path)
        with path.open("rb") as file:
            decode(file.fileno(), _SIDE * _SIDE).image.copy_memory()
    except (ImageRejectedError, pyvips.Error, OSError):
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
