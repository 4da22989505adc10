"""Whether each format can really be read here: a tiny picture of each is made and decoded."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.vips.decoders import decode
from image_poster.domain.images import ImageFormat, ImageRejectedError

_SIDE = 16


def unreadable_formats() -> list[str]:
    """The formats that cannot be decoded on this machine, by name."""
    with tempfile.TemporaryDirectory() as folder:
        return [name for name in ImageFormat if not _is_read(name, Path(folder, name.name))]


def _is_read(image_format: ImageFormat, path: Path) -> bool:
    try:
        SAMPLES[image_format](path)
        decode(path, _SIDE * _SIDE).image.copy_memory()
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
    picture = PillowImage.new("RGB", (_SIDE, _SIDE), (128, 128, 128))
    pillow_heif.from_pillow(picture).save(path, quality=50)


SAMPLES: dict[ImageFormat, Callable[[Path], None]] = {
    ImageFormat.JPEG: _vips(".jpg"),
    ImageFormat.PNG: _vips(".png"),
    ImageFormat.WEBP: _vips(".webp"),
    ImageFormat.GIF: _vips(".gif"),
    ImageFormat.AVIF: _vips(".avif"),
    ImageFormat.BMP: _bmp,
    ImageFormat.HEIC: _heic,
}
