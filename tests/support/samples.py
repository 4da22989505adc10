"""Images to send: each with four corners of known colour, so that a wrong turn or a stretch
shows."""

import io
import random
from typing import Any

import pillow_heif
import pyvips
from PIL import Image, ImageCms

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (30, 40, 210), (230, 210, 40)
CORNERS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right

GPS_IFD, ORIENTATION, MAKE = 0x8825, 0x0112, 0x010F

# By EXIF orientation: how to transpose an upright image so that a viewer, which applies the tag,
# shows it upright (EXIF 2.32, table 6).
UNDONE_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def corners(width: int = 120, height: int = 80) -> Image.Image:
    """An upright image of four quarters."""
    image = Image.new("RGB", (width, height))
    half_width, half_height = width // 2, height // 2
    for index, colour in enumerate(CORNERS):
        left, top = (index % 2) * half_width, (index // 2) * half_height
        image.paste(colour, (left, top, left + half_width, top + half_height))
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The bytes of an image in a format of Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind in ("JPEG", "WEBP") else {}) | options)
    return buffer.getvalue()


def jpeg(width: int = 120, height: int = 80) -> bytes:
    """A plain JPEG."""
    return encoded(corners(width, height))


def bitmap(width: int, height: int) -> bytes:
    """A BMP: three bytes a pixel."""
    return encoded(corners(width, height), "BMP")


def mosaic(seed: object) -> Image.Image:
    """An image with as much detail as a photograph, and unlike those of other seeds."""
    colours = random.Random(str(seed)).randbytes(12 * 12 * 3)
    small = Image.frombytes("RGB", (12, 12), colours)
    return small.resize((480, 360), Image.Resampling.BICUBIC)


def from_phone(orientation: int, width: int = 120, height: int = 80) -> bytes:
    """A JPEG as phones write it: lying as the sensor does, tagged, and with the place of taking."""
    image = corners(width, height)
    if orientation in UNDONE_BY:
        image = image.transpose(UNDONE_BY[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKE] = "Phone Maker"
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return encoded(image, exif=exif, comment=b"taken at home")


def heic(width: int = 120, height: int = 80, **options: Any) -> bytes:
    """A HEIC."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(corners(width, height)).save(buffer, quality=90, **options)
    return buffer.getvalue()


def by_vips(suffix: str, width: int = 120, height: int = 80) -> bytes:
    """An image in a format of libvips."""
    image = corners(width, height)
    image = pyvips.Image.new_from_memory(image.tobytes(), width, height, 3, "uchar")
    return bytes(image.copy(interpretation="srgb").write_to_buffer(suffix))


def flat(colour: tuple[int, int, int], side: int = 64) -> pyvips.Image:
    """One colour in sRGB, for libvips; made without a loader, which a test may have blocked."""
    plain = pyvips.Image.black(side, side, bands=3) + list(colour)
    return plain.cast("uchar").copy(interpretation="srgb")


def animated_gif() -> bytes:
    """Two frames: the corners, then black."""
    first = corners().convert("P", palette=Image.Palette.ADAPTIVE)
    return encoded(first, "GIF", save_all=True, append_images=[Image.new("P", first.size)])


def noisy(side: int, seed: int = 0) -> bytes:
    """A JPEG that is large for its pixels: about 0.76 bytes each."""
    pixels = random.Random(seed).randbytes(side * side * 3)
    return encoded(Image.frombytes("RGB", (side, side), pixels), quality=85)


def samples() -> dict[str, bytes]:
    """One image of every accepted format, by name."""
    return {
        "jpeg": jpeg(),
        "png": encoded(corners(), "PNG"),
        "bmp": encoded(corners(), "BMP"),
        "webp": encoded(corners(), "WEBP", lossless=True),
        "gif": encoded(corners().convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
        "animated gif": animated_gif(),
        "heic": heic(),
        "avif": by_vips(".avif[Q=90]"),
    }


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a few kB that claims `side` times `side` pixels."""
    png = bytearray(pyvips.Image.black(16, 16).write_to_buffer(".png"))
    png[16:24] = side.to_bytes(4) + side.to_bytes(4)
    import zlib

    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4)
    return bytes(png)


def svg_disguised_as(head: bytes) -> bytes:
    """An SVG that reads the file beside it, behind a comment that holds what a sniffer may look
    for."""
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        b'width="64" height="64"><rect width="64" height="64" fill="red"/>'
        b'<image width="64" height="64" xlink:href="other.png"/></svg>'
    )
    return b"<!--" + head + b" -->" + svg


def wide_gamut_profile() -> bytes:
    """An ICC profile that is clearly not sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def opened(content: bytes) -> Image.Image:
    """The decoded image."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def corner_colours(image: Image.Image) -> tuple[tuple[int, ...], ...]:
    """The colours in the middle of each quarter, in the order of `CORNERS`."""
    rgb = image.convert("RGB")
    places = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    return tuple(rgb.getpixel((int(rgb.width * x), int(rgb.height * y))) for x, y in places)  # type: ignore[misc]


def looks_like(actual: tuple[tuple[int, ...], ...], expected: tuple[tuple[int, ...], ...]) -> bool:
    """True if colours agree except for the loss of a lossy format."""
    return all(
        abs(level - other) <= 40
        for colour, expected_colour in zip(actual, expected, strict=True)
        for level, other in zip(colour, expected_colour, strict=True)
    )
