"""HEIF by what is in its boxes: general brands, sequences, and turns that are told twice."""

import io
import struct
from collections.abc import Callable

import pillow_heif
import pytest
import pyvips
from PIL import Image

from image_poster.domain.images import ImageFormat, ImageRejectedError, sniff
from support import samples
from support.rendered import near, pixel, render
from support.samples import CORNERS, corner_colours, looks_like


def branded(content: bytes, major: bytes) -> bytes:
    """The same file with one brand in all places."""
    size = int.from_bytes(content[:4])
    return content[:8] + major + bytes(4) + major * ((size - 16) // 4) + content[size:]


STILLS: dict[str, Callable[[], bytes]] = {
    "heic": samples.heic,
    "avif": lambda: samples.by_vips(".avif[Q=90]"),
    "avif by libavif": lambda: samples.encoded(samples.corners(), "AVIF", quality=90),
}


@pytest.mark.parametrize("kind", STILLS)
@pytest.mark.parametrize("brand", [b"mif1", b"mif2", b"msf1"])
def test_an_image_of_a_general_brand_is_shown_by_its_coding(kind: str, brand: bytes) -> None:
    content = branded(STILLS[kind](), brand)
    assert sniff(content) is ImageFormat.HEIC
    assert looks_like(corner_colours(render(content).large), CORNERS)


@pytest.mark.parametrize(("kind", "brand"), [("heic", b"avif"), ("avif", b"heic")])
def test_an_image_with_the_brand_of_another_coding_is_shown_by_its_own(
    kind: str, brand: bytes
) -> None:
    assert looks_like(corner_colours(render(branded(STILLS[kind](), brand)).large), CORNERS)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


def sequence(
    still: bytes, entry: bytes, configuration: bytes, brand: bytes, *, wide: bool
) -> bytes:
    """A film of one frame, as cameras write bursts: `moov` without a `meta` (14496-12, 8)."""
    at = still.index(configuration) - 4
    decoder = still[at : at + int.from_bytes(still[at : at + 4])]
    frame = still[still.index(b"mdat") + 4 :]
    start = box(b"ftyp", brand, bytes(4), b"msf1", brand, b"iso8")
    data = box(b"mdat", frame)
    place = len(start) + 8
    chunk = (
        full(b"co64", struct.pack(">IQ", 1, place))
        if wide
        else (full(b"stco", struct.pack(">II", 1, place)))
    )
    visual = bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HH", 120, 80) + bytes(50)
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), box(entry, visual, decoder)),
        full(b"stsz", struct.pack(">III", 0 if wide else len(frame), 1, len(frame))),
        chunk,
    )
    sound = box(b"trak", box(b"mdia", full(b"hdlr", bytes(4), b"soun", bytes(13))))
    handler = full(b"hdlr", bytes(4), b"pict", bytes(13))
    track = box(b"trak", box(b"mdia", handler, box(b"minf", table)))
    return start + data + box(b"moov", sound, track)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("still", "entry", "configuration", "brand"),
    [
        ("heic", b"hvc1", b"hvcC", b"hevc"),
        ("heic", b"hvc1", b"hvcC", b"msf1"),
        ("avif", b"av01", b"av1C", b"avis"),
    ],
)
def test_of_a_sequence_without_a_still_the_first_frame_is_shown(
    still: str, entry: bytes, configuration: bytes, brand: bytes, *, wide: bool
) -> None:
    content = sequence(STILLS[still](), entry, configuration, brand, wide=wide)
    large = render(content).large
    assert looks_like(corner_colours(large.crop((0, 0, 120, 80))), CORNERS)


def test_a_sequence_that_breaks_off_is_damaged() -> None:
    content = sequence(samples.heic(), b"hvc1", b"hvcC", b"hevc", wide=False)
    for cut in (60, 500, len(content) - 40):
        with pytest.raises(ImageRejectedError) as refused:
            render(content[:cut])
        assert refused.value.code == "image_unreadable"


def avif_turned_twice() -> bytes:
    """Turned by a transform of its own and by EXIF, which says the same: as some phones do."""
    image = samples.corners().transpose(samples.UNDONE_BY[6])
    pixels = pyvips.Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar")
    content = bytes(pixels.copy(interpretation="srgb").heifsave_buffer(compression="av1", Q=90))
    headers = [(order, struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 1, 0)) for order in "<>"]
    order, upright = next(pair for pair in headers if pair[1] in content)
    content = content.replace(upright, struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0))
    told = content.index(b"pixi") - 4  # what it says, the coding says too
    size = int.from_bytes(content[told : told + 4])
    turn = struct.pack(">I", size) + b"irot" + b"\x03" + bytes(size - 9)
    return content[:told] + turn + content[told + size :]


def test_an_avif_that_is_turned_by_boxes_and_by_exif_is_turned_once() -> None:
    content = avif_turned_twice()
    large = render(content).large
    assert large.size == (120, 80)
    assert looks_like(corner_colours(large), CORNERS)


def heic_with_alpha() -> bytes:
    """Display P3 red by code points; the right half is transparent."""
    opaque = struct.pack("<4H", *(257 * 200, 257 * 80, 257 * 80, 65_535))
    row = opaque * 32 + opaque[:6] + bytes(2) + (opaque[:6] + bytes(2)) * 31
    buffer = io.BytesIO()
    image = pillow_heif.from_bytes("RGBA;16", (64, 64), row * 64)
    image.save(
        buffer, quality=-1, chroma=444, color_primaries=12, transfer_characteristics=13,
        matrix_coefficients=1, full_range_flag=1,
    )  # fmt: skip
    return buffer.getvalue()


def half_transparent() -> Image.Image:
    image = Image.new("RGBA", (64, 64), (200, 80, 80, 255))
    image.paste((200, 80, 80, 0), (32, 0, 64, 64))
    return image


def with_cicp(png: bytes) -> bytes:
    import zlib

    body = b"cICP" + bytes((12, 13, 0, 1))
    return png[:33] + struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


def avif_with_alpha() -> bytes:
    content = samples.encoded(half_transparent(), "AVIF", quality=100, subsampling="4:4:4")
    at = content.index(b"nclx") + 4
    return content[:at] + struct.pack(">HH", 12, 13) + content[at + 4 :]


WITH_ALPHA: dict[str, Callable[[], bytes]] = {
    "heic": heic_with_alpha,
    "avif": avif_with_alpha,
    "png": lambda: with_cicp(samples.encoded(half_transparent(), "PNG")),
    "animated png": lambda: with_cicp(
        samples.encoded(
            half_transparent(), "PNG", save_all=True, append_images=[Image.new("RGBA", (64, 64))]
        )
    ),
}


@pytest.mark.parametrize("kind", WITH_ALPHA)
def test_colours_by_code_points_are_converted_beside_transparency(kind: str) -> None:
    """P3 (200, 80, 80) is a stronger red in sRGB; what is transparent is white."""
    large = render(WITH_ALPHA[kind]()).large
    assert near(pixel(large, 12, 32), (216, 72, 76), by=10)
    assert near(pixel(large, 52, 32), (255, 255, 255), by=4)
