"""An image whose pixels are whole is shown, whatever else is wrong in its file."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import pillow_heif
import pytest
from PIL import Image, ImageChops, ImageStat

from image_poster.domain.images import ImageRejectedError
from support import flawed, flawed_heif, samples
from support.flawed import Flawed
from support.heif import Heif, Item, box, full, grid, ispe, taken_apart
from support.rendered import render
from support.samples import CORNERS, corner_colours, looks_like

WIDTH, HEIGHT = 160, 120
PHOTOGRAPH = flawed.photograph(WIDTH, HEIGHT)


def heic(image: Image.Image = PHOTOGRAPH, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=90, **options)
    return buffer.getvalue()


def png(image: Image.Image = PHOTOGRAPH) -> bytes:
    return samples.encoded(image, "PNG")


def avif(image: Image.Image = PHOTOGRAPH) -> bytes:
    return samples.encoded(image, "AVIF", quality=90)


def palette() -> Image.Image:
    return PHOTOGRAPH.convert("P", palette=Image.Palette.ADAPTIVE)


INTACT: dict[str, tuple[bytes, Callable[[bytes], Flawed]]] = {
    "jpeg": (samples.encoded(PHOTOGRAPH), flawed.jpegs),
    "progressive jpeg": (samples.encoded(PHOTOGRAPH, progressive=True), flawed.jpegs),
    "png": (png(), flawed.pngs),
    "interlaced png": (samples.by_vips(".png[interlace]", 97, 61), flawed.pngs),
    "palette png": (png(palette()), flawed.pngs),
    "lossy webp": (samples.encoded(PHOTOGRAPH, "WEBP"), flawed.webps),
    "lossless webp": (samples.encoded(PHOTOGRAPH, "WEBP", lossless=True), flawed.webps),
    "gif": (samples.encoded(palette(), "GIF"), flawed.gifs),
    "bmp": (samples.encoded(PHOTOGRAPH.crop((0, 0, 158, 120)), "BMP"), flawed.bmps),
    "palette bmp": (samples.encoded(palette().crop((0, 0, 158, 120)), "BMP"), flawed.bmps),
    "heic": (heic(), lambda content: flawed_heif.heifs(content, b"hvc1")),
    "avif": (avif(), lambda content: flawed_heif.heifs(content, b"av01")),
}
FLAWED = [
    pytest.param(kind, content, id=f"{kind}: {name}")
    for kind, (intact, flaws) in INTACT.items()
    for name, content in flaws(intact).items()
]
PIXELS: dict[str, Image.Image] = {}


# Two decoders of AVIF differ by this at most; a row or block in a wrong place differs by 20.
SAME = 2.5


def difference(image: Image.Image, other: Image.Image) -> float:
    """The mean difference of the channel that differs most, of 255; 255 for other sizes."""
    if image.size != other.size:
        return 255
    return max(ImageStat.Stat(ImageChops.difference(image, other)).mean)


def rejected(content: bytes) -> ImageRejectedError:
    with pytest.raises(ImageRejectedError) as refused:
        render(content)
    return refused.value


@pytest.mark.parametrize(("kind", "content"), FLAWED)
def test_a_file_whose_pixels_are_whole_is_shown_as_the_intact_one(
    kind: str, content: bytes
) -> None:
    if kind not in PIXELS:
        PIXELS[kind] = render(INTACT[kind][0]).large
    assert difference(render(content).large, PIXELS[kind]) < SAME


# --- Animations ---

ANIMATED = {"PNG": PHOTOGRAPH, "WEBP": PHOTOGRAPH, "GIF": palette(), "AVIF": PHOTOGRAPH}


@pytest.mark.parametrize("kind", ANIMATED)
@pytest.mark.parametrize("missing_bytes", [1, 10, 150])
def test_the_first_frame_is_shown_though_the_last_one_breaks_off(
    kind: str, missing_bytes: int
) -> None:
    more = [Image.effect_noise((WIDTH, HEIGHT), 90).convert("RGB")] * 2
    content = samples.encoded(
        ANIMATED[kind],
        kind,
        save_all=True,
        append_images=more,
        **{"lossless": True} if kind == "WEBP" else {},
    )
    assert difference(render(content[:-missing_bytes]).large, render(content).large) < SAME


@pytest.mark.parametrize("name", [b"fdAT", b"fcTL", b"acTL"])
def test_an_animated_png_is_shown_whatever_the_checksums_of_its_other_frames(name: bytes) -> None:
    content = samples.encoded(PHOTOGRAPH, "PNG", save_all=True, append_images=[palette()])
    changed = b"\x89PNG\r\n\x1a\n" + b"".join(
        flawed.chunk(kind, body, 1 if kind == name else None)
        for kind, body in flawed.chunks(content)
    )
    assert changed != content
    assert difference(render(changed).large, render(content).large) < SAME


def test_an_animated_webp_is_shown_though_its_second_frame_is_garbage() -> None:
    content = samples.encoded(
        PHOTOGRAPH, "WEBP", save_all=True, append_images=[palette()], lossless=True
    )
    parts = flawed.webp_parts(content)
    second = [name for name, _ in parts].index(b"ANMF") + 1
    for body in (b"-", parts[second][1][:30] + b"garbage"):
        changed = flawed.riff(*parts[:second], (b"ANMF", body), *parts[second + 1 :])
        assert difference(render(changed).large, render(content).large) < SAME


# --- JPEG of arithmetic coding ---

# By `cjpeg -arithmetic -grayscale`: no encoder of Python makes such a file.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERX"
    "RTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/yQALCAAgADABAREA/8wABgAQEAX/2gAIAQEAAD8A/wBMR9PboPO7FfwZ"
    "RooPEwjxHnNFVgNuf27+G3LVFsQMYB/RsQAsLNOKmbBpXf8AyzxJ0OfQoyY8ronPcMS/xEjo4vGlicD/2Q=="
)


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_jpeg_of_arithmetic_coding_that_breaks_off_is_refused(part: float) -> None:
    """Libjpeg does not warn of it."""
    assert render(ARITHMETIC).large.size == (48, 32)
    assert rejected(ARITHMETIC[: int(len(ARITHMETIC) * part)]).code == "image_unreadable"


# --- HEIC and AVIF ---


@pytest.mark.parametrize("kind", flawed_heif.BRANDS)
@pytest.mark.parametrize("more", [0, 2000])
def test_a_heif_of_1600_tiles_is_put_together(kind: bytes, more: int) -> None:
    tile = samples.corners(64, 64)
    item = taken_apart(heic(tile) if kind == b"hvc1" else avif(tile), kind)
    others = [Item(b"mime", b"x", refers=((b"cdsc", (1,)),), extra=b"text/plain\0")] * more
    items = (*grid(item, 40, 64), *others)
    large = render(Heif(items, brand=flawed_heif.BRANDS[kind]).encoded()).large
    assert large.size == (1600, 1600)
    for left, top in [(0, 0), (1560, 0), (800, 400), (1560, 1560)]:
        assert looks_like(corner_colours(large.crop((left, top, left + 40, top + 40))), CORNERS)


@pytest.mark.parametrize("by", [1, 8, 63])
def test_a_heic_that_claims_to_be_larger_than_its_pixels_is_shown_with_all_of_them(by: int) -> None:
    content = flawed_heif.sized(heic(), b"hvc1", WIDTH + by, HEIGHT + by)
    assert difference(render(content).large, render(heic()).large) < SAME


@pytest.mark.parametrize("by", [1, 8, 63])
def test_of_a_heic_that_claims_to_be_smaller_the_padding_is_cut_off(by: int) -> None:
    """Encoders code whole blocks, so that what is beyond the size is no part of the image."""
    content = flawed_heif.sized(heic(), b"hvc1", WIDTH - by, HEIGHT - by)
    expected = render(heic()).large.crop((0, 0, WIDTH - by, HEIGHT - by))
    assert difference(render(content).large, expected) < SAME


@pytest.mark.parametrize("by", [-8, -1, 1, 8])
def test_an_avif_that_claims_another_size_is_scaled_to_it(by: int) -> None:
    """As browsers show it."""
    content = flawed_heif.sized(avif(), b"av01", WIDTH + by, HEIGHT + by)
    expected = render(avif()).large.resize((WIDTH + by, HEIGHT + by))
    assert difference(render(content).large, expected) < 3 * SAME


def ten_bits() -> bytes:
    return samples.by_vips(".avif[bitdepth=10,Q=90,effort=0]", 128, 128)


@pytest.mark.parametrize(
    ("kind", "encode", "sound"),
    [
        (b"av01", lambda: avif(flawed.photograph(128, 128)), 12),
        (b"av01", ten_bits, 12),
        (b"hvc1", lambda: heic(flawed.photograph(128, 128)), 0),
    ],
    ids=["avif", "avif of 10 bits", "heic"],
)
def test_a_grid_with_a_damaged_tile_is_refused(
    kind: bytes, encode: Callable[[], bytes], sound: int
) -> None:
    """Some decoders leave such a tile empty, which is green."""
    tile = taken_apart(encode(), kind)
    items, brand = list(grid(tile, 2, 128)), flawed_heif.BRANDS[kind]
    assert render(Heif(tuple(items), brand=brand).encoded()).large.size == (256, 256)
    items[2] = replace(tile, data=tile.data[:sound] + bytes(len(tile.data) - sound))
    assert rejected(Heif(tuple(items), brand=brand).encoded()).code == "image_unreadable"


def test_tiles_of_another_size_than_their_pixels_are_put_together() -> None:
    tile = taken_apart(heic(samples.corners(64, 64)), b"hvc1")
    others = [prop for prop in tile.properties if prop[4:8] != b"ispe"]
    items = grid(replace(tile, properties=(ispe(60, 64), *others)), 4, 64)
    large = render(Heif(items).encoded()).large
    assert looks_like(corner_colours(large.crop((192, 192, 256, 256))), CORNERS)


# --- EXIF and transparency outlast the rebuilding ---


def lying() -> Image.Image:
    return samples.corners().transpose(samples.UNDONE_BY[6])


def turned_heic() -> bytes:
    """Turned by EXIF alone, beside 1,500 other items."""
    tags = Item(b"Exif", bytes(4) + flawed.exif(6), refers=((b"cdsc", (1,)),))
    items = (taken_apart(heic(lying()), b"hvc1"), tags)
    return Heif((*items, *[Item(b"mime", b"x", extra=b"text/plain\0")] * 1500)).encoded()


def turned_png() -> bytes:
    content = samples.encoded(lying(), "PNG", exif=flawed.exif(6))
    return flawed.pngs(content)["wrong adler32"]


def turned_webp() -> bytes:
    content = samples.encoded(lying(), "WEBP", exif=flawed.exif(6))
    return content[:4] + struct.pack("<I", 0) + content[8:]


def turned_jpeg() -> bytes:
    return b"\xff\xd8" + samples.from_phone(6)


def turned_webp_whose_exif_breaks_off() -> bytes:
    tags = Image.Exif()
    tags[samples.ORIENTATION], tags[0x9286] = 6, "a comment of many bytes" * 9
    return samples.encoded(lying(), "WEBP", exif=tags.tobytes())[:-60]


TURNED = {
    "jpeg": turned_jpeg,
    "png": turned_png,
    "webp": turned_webp,
    "webp whose EXIF breaks off": turned_webp_whose_exif_breaks_off,
    "heic": turned_heic,
}


@pytest.mark.parametrize("kind", TURNED)
def test_a_rebuilt_image_is_turned_by_its_exif(kind: str) -> None:
    large = render(TURNED[kind]()).large
    assert large.size == (120, 80)
    assert looks_like(corner_colours(large), CORNERS)


def clear(kind: str) -> bytes:
    image = Image.new("RGBA", (64, 64), (200, 0, 0, 0))
    if kind == "HEIC":
        return heic(image)
    return samples.encoded(image, kind, **{"lossless": True} if kind == "WEBP" else {})


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "HEIC", "AVIF"])
def test_a_rebuilt_image_keeps_its_transparency(kind: str) -> None:
    content = clear(kind)
    if kind == "PNG":
        content = flawed.pngs(content)["wrong adler32"]
    elif kind == "WEBP":
        content = content[:4] + bytes(4) + content[8:]
    else:
        content += box(b"moov", box(b"trak", b"broken"))
    assert looks_like(corner_colours(render(content).large), ((255, 255, 255),) * 4)


# --- Damaged stays damaged ---


def damaged_png() -> bytes:
    """A pixel has changed: neither checksum covers what is there."""
    parts = list(flawed.chunks(png()))
    data = b"".join(body for name, body in parts if name == b"IDAT")
    rows = bytearray(zlib.decompress(data))
    rows[5000] ^= 0xFF
    changed = zlib.compress(bytes(rows))[:-4] + data[-4:]
    head = [part for part in parts if part[0] not in (b"IDAT", b"IEND")]
    return (
        b"\x89PNG\r\n\x1a\n" + b"".join(flawed.chunk(*part) for part in head)
        + flawed.chunk(b"IDAT", changed, 1) + flawed.chunk(b"IEND", b"")
    )  # fmt: skip


def without_pixels(kind: bytes) -> bytes:
    content = heic() if kind == b"hvc1" else avif()
    return flawed_heif.heifs(content, kind)["1,500 items of metadata"][:-9000]


def gif_cut_between_blocks() -> bytes:
    content = samples.encoded(palette(), "GIF")
    at = content.index(b"\0" * 4 + struct.pack("<HH", WIDTH, HEIGHT)) + 9
    at += 1 if not content[at - 1] & 0x80 else 1 + (3 << (content[at - 1] & 7) + 1)
    for _ in range(10):
        at += 1 + content[at]
    return content[:at]


def jpeg_with_other_tables() -> bytes:
    """The Huffman tables are not those that it was coded with, and have a wrong length."""
    content = bytearray(samples.encoded(PHOTOGRAPH))
    at = content.index(b"\xff\xc4")
    content[at + 2 : at + 4] = struct.pack(">H", int.from_bytes(content[at + 2 : at + 4]) + 1)
    content[at + 21 : at + 25] = content[at + 21 : at + 25][::-1]
    return bytes(content)


DAMAGED: dict[str, Callable[[], bytes]] = {
    "PNG whose pixels have changed": damaged_png,
    "PNG that breaks off in its rows": lambda: png()[:-300],
    "PNG of fewer rows": lambda: png()[:20] + struct.pack(">I", HEIGHT + 1) + png()[24:],
    "WebP that breaks off": lambda: samples.encoded(PHOTOGRAPH, "WEBP")[:-40],
    "GIF that breaks off between two blocks": gif_cut_between_blocks,
    "BMP that breaks off in its last row": lambda: samples.encoded(PHOTOGRAPH, "BMP")[:-1],
    "JPEG whose rest was reserved and not sent": lambda: (
        samples.encoded(PHOTOGRAPH)[:3000] + bytes(90_000)
    ),
    "progressive JPEG whose rest was not sent": lambda: (
        samples.encoded(PHOTOGRAPH, progressive=True)[:3000] + bytes(90_000)
    ),
    "JPEG with other tables": jpeg_with_other_tables,
    "HEIC without its pixels": lambda: without_pixels(b"hvc1"),
    "AVIF without its pixels": lambda: without_pixels(b"av01"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_an_image_whose_pixels_are_not_whole_is_not_shown(kind: str) -> None:
    error = rejected(DAMAGED[kind]())
    assert error.code == "image_unreadable"
    assert "Send it again" in error.detail


# --- Too large, and not supported ---


def jpeg_of(width: int, height: int) -> bytes:
    content = samples.jpeg()
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def png_of(width: int, height: int) -> bytes:
    parts = list(flawed.chunks(png()))
    header = struct.pack(">II", width, height) + parts[0][1][8:]
    return flawed.png_of([(b"IHDR", header), *parts[1:]])


def webp_of(width: int, height: int) -> bytes:
    content = samples.encoded(
        PHOTOGRAPH, "WEBP", save_all=True, append_images=[samples.corners(WIDTH, HEIGHT)]
    )
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return content[:24] + canvas + content[30:]


def bmp_of(width: int, height: int) -> bytes:
    content = samples.encoded(PHOTOGRAPH, "BMP")
    return content[:18] + struct.pack("<ii", width, height) + content[26:]


def gif_of(width: int, height: int) -> bytes:
    content = samples.encoded(palette(), "GIF")
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def heif_of(kind: bytes, width: int, height: int) -> bytes:
    return flawed_heif.sized(heic() if kind == b"hvc1" else avif(), kind, width, height)


TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "JPEG of 65,501 columns": lambda: jpeg_of(65_501, 100),
    "JPEG of 65,535 rows": lambda: jpeg_of(1, 65_535),
    "PNG of 2^31 columns": lambda: png_of(2**31, 1),
    "PNG of 2^32 - 1 rows": lambda: png_of(1, 2**32 - 1),
    "PNG of 1,000,001 columns": lambda: png_of(1_000_001, 1),
    "WebP of 16,777,216 columns": lambda: webp_of(1 << 24, 1 << 24),
    "WebP of 16,384 columns and rows": lambda: webp_of(16_384, 16_384),
    "GIF of 65,535 columns": lambda: gif_of(65_535, 1),
    "BMP of 2^31 - 1 columns": lambda: bmp_of(2**31 - 1, 1),
    "BMP of 2^31 rows from the top": lambda: bmp_of(1, -(2**31)),
    "HEIC of 70,000 columns": lambda: heif_of(b"hvc1", 70_000, 10),
    "HEIC of 2^32 - 1 columns": lambda: heif_of(b"hvc1", 2**32 - 1, 2**32 - 1),
    "AVIF of 2^32 - 1 columns": lambda: heif_of(b"av01", 2**32 - 1, 2**32 - 1),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_an_image_of_more_than_a_format_can_have_is_too_large(kind: str) -> None:
    error = rejected(TOO_LARGE[kind]())
    assert error.code == "image_too_large"
    assert "again" not in error.detail


def heic_with_an_unknown_need() -> bytes:
    """Its one unknown property is essential: without it the image would be shown wrongly."""
    item = taken_apart(heic(), b"hvc1")
    item = replace(item, properties=(*item.properties, box(b"abcd", b"1234")))
    content = Heif((item,)).encoded()
    at = content.index(b"ipma") + 15 + 2 * (len(item.properties) - 1)
    return content[:at] + bytes([content[at] | 0x80]) + content[at + 1 :]


def heic_of_many_megabytes_of_boxes() -> bytes:
    item = taken_apart(heic(), b"hvc1")
    return Heif((item,), more_meta=full(b"free", bytes(5_000_000))).encoded()


UNSUPPORTED: dict[str, Callable[[], bytes]] = {
    "HEIC that needs what is unknown": heic_with_an_unknown_need,
    "HEIC of megabytes of boxes": heic_of_many_megabytes_of_boxes,
    "JPEG without a number of rows": lambda: jpeg_of(160, 0),
    "BMP of an unknown compression": lambda: (
        samples.encoded(palette(), "BMP")[:30] + b"\x0b" + samples.encoded(palette(), "BMP")[31:]
    ),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_an_image_that_no_second_transfer_would_help_is_unsupported(kind: str) -> None:
    error = rejected(UNSUPPORTED[kind]())
    assert error.code == "image_unsupported"
    assert "damaged" not in error.detail
    assert "again" not in error.detail
