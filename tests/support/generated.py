"""Images of all formats, depths, profiles and orientations, whole and damaged, from a seed."""

import io
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pillow_heif
import pyvips
from PIL import Image

from support import samples

_Maker = Callable[[Image.Image, random.Random], bytes]
_DAMAGES = ("none", "none", "cut", "cut", "bytes", "header", "swapped", "repeated")
_HEADER_BYTES = 300


class Generated(NamedTuple):
    """An image, and what it is: its kind and what was done to it."""

    name: str
    content: bytes

    @property
    def is_whole(self) -> bool:
        return self.name.endswith("none")


def generated(seed: int, count: int) -> Iterator[Generated]:
    """The same for the same seed, one after the other; each kind comes as often as the others."""
    for index in range(count):
        chance = random.Random(f"{seed}/{index}")
        kind = list(_MAKERS)[index % len(_MAKERS)]
        content = _MAKERS[kind](_pixels(chance), chance)
        damage = chance.choice(_DAMAGES)
        yield Generated(f"{index} {kind} {damage}", _damaged(content, damage, chance))


def _pixels(chance: random.Random) -> Image.Image:
    width, height = (chance.choice([1, 2, 7, 64, 120, 333, 900]) for _ in range(2))
    image = samples.corners(max(2, width), max(2, height))
    if chance.random() < 0.3:  # noise compresses badly, so that there are data to be damaged
        noise = Image.frombytes("RGB", (64, 64), chance.randbytes(64 * 64 * 3))
        image.paste(noise, (0, 0))
    return image


def _damaged(content: bytes, damage: str, chance: random.Random) -> bytes:
    if damage == "cut":
        return content[: chance.randrange(1, len(content) + 1)]
    changed = bytearray(content)
    reach = min(len(content), _HEADER_BYTES) if damage == "header" else len(content)
    if damage in ("bytes", "header"):
        for _ in range(chance.randrange(1, 30)):
            changed[chance.randrange(reach)] = chance.randrange(256)
    if damage in ("swapped", "repeated"):
        start, stop = sorted(chance.randrange(reach) for _ in range(2))
        middle = changed[start:stop]
        changed[start:stop] = middle[::-1] if damage == "swapped" else middle * 2
    return bytes(changed)


def _profile(chance: random.Random) -> dict[str, Any]:
    profile = bytearray(wide_profile())
    if chance.random() < 0.5:
        for _ in range(chance.randrange(1, 40)):
            profile[chance.randrange(len(profile))] = chance.randrange(256)
    return {"icc_profile": bytes(profile)} if chance.random() < 0.5 else {}


def wide_profile() -> bytes:
    """Display P3, as libvips has it."""
    converted = samples.flat((200, 80, 80), 8).icc_transform("p3", input_profile="srgb")
    return bytes(converted.get("icc-profile-data"))


def _exif(chance: random.Random) -> dict[str, Any]:
    tags = Image.Exif()
    tags[samples.ORIENTATION] = chance.randrange(0, 10)
    content = bytearray(tags.tobytes())
    if chance.random() < 0.2:
        content[chance.randrange(6, len(content))] = chance.randrange(256)
    return {"exif": bytes(content)}


def _pillow(kind: str, mode: str, **options: Any) -> _Maker:
    def make(image: Image.Image, chance: random.Random) -> bytes:
        metadata = _exif(chance) | _profile(chance) if kind in ("JPEG", "PNG", "WEBP") else {}
        return samples.encoded(image.convert(mode), kind, **metadata, **options)

    return make


def _vips(suffix: str, *, deep: bool = False, alpha: bool = False) -> _Maker:
    def make(image: Image.Image, _: random.Random) -> bytes:
        pixels = pyvips.Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar")
        pixels = pixels.copy(interpretation="srgb")
        if alpha:
            pixels = pixels.bandjoin(128)
        if deep:
            pixels = (pixels.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")
        return bytes(pixels.write_to_buffer(suffix))

    return make


def _heic(mode: str, **options: Any) -> _Maker:
    def make(image: Image.Image, chance: random.Random) -> bytes:
        heif = pillow_heif.from_pillow(image.convert(mode))
        buffer = io.BytesIO()
        heif.save(buffer, quality=60, **options, **_exif(chance), **_profile(chance))
        content = buffer.getvalue()
        if chance.random() < 0.5:  # turned by EXIF alone, as phones do
            content = content.replace(b"irot", b"free").replace(b"imir", b"free")
        return content

    return make


def _deep_heic(mode: str) -> _Maker:
    def make(image: Image.Image, chance: random.Random) -> bytes:
        bands = len(mode.split(";", maxsplit=1)[0])
        content = chance.randbytes(2 * bands) * (image.width * image.height)
        buffer = io.BytesIO()
        heif = pillow_heif.from_bytes(mode, image.size, content)
        points = chance.choice([(1, 13), (9, 16), (9, 18), (12, 13)])
        heif.save(buffer, quality=60, color_primaries=points[0], transfer_characteristics=points[1])
        return buffer.getvalue()

    return make


def _animated(kind: str) -> _Maker:
    def make(image: Image.Image, _: random.Random) -> bytes:
        frames = [Image.new("RGB", image.size, colour) for colour in samples.CORNERS]
        return samples.encoded(image, kind, save_all=True, append_images=frames)

    return make


_MAKERS: dict[str, _Maker] = {
    "jpeg": _pillow("JPEG", "RGB"),
    "jpeg progressive": _pillow("JPEG", "RGB", progressive=True),
    "jpeg grey": _pillow("JPEG", "L"),
    "jpeg cmyk": _pillow("JPEG", "CMYK"),
    "jpeg 4:4:4": _pillow("JPEG", "RGB", subsampling=0),
    "png": _pillow("PNG", "RGB"),
    "png alpha": _pillow("PNG", "RGBA"),
    "png palette": _pillow("PNG", "P"),
    "png grey": _pillow("PNG", "LA"),
    "png of one bit": _pillow("PNG", "1"),
    "png deep": _vips(".png", deep=True),
    "png interlaced": _vips(".png[interlace]"),
    "png animated": _animated("PNG"),
    "webp": _pillow("WEBP", "RGB"),
    "webp lossless": _pillow("WEBP", "RGBA", lossless=True),
    "webp animated": _animated("WEBP"),
    "gif": _pillow("GIF", "P"),
    "gif animated": _animated("GIF"),
    "bmp": _pillow("BMP", "RGB"),
    "bmp palette": _pillow("BMP", "P"),
    "bmp alpha": _pillow("BMP", "RGBA"),
    "bmp of one bit": _pillow("BMP", "1"),
    "heic": _heic("RGB"),
    "heic alpha": _heic("RGBA"),
    "heic grey": _heic("L"),
    "heic deep": _deep_heic("RGB;16"),
    "heic deep grey": _deep_heic("I;16"),
    "avif": _pillow("AVIF", "RGB"),
    "avif alpha": _vips(".avif[effort=0]", alpha=True),
    "avif deep": _vips(".avif[effort=0,bitdepth=10]", deep=True),
    "avif animated": _animated("AVIF"),
}
