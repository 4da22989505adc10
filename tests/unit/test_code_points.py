"""Colours that code points tell (H.273), in HEIC, AVIF and PNG: as their twins in sRGB."""

import io
import math
import struct
import zlib
from collections.abc import Callable

import pillow_heif
import pytest
from PIL import Image

from support import samples
from support.rendered import colour, near, render

Rgb = tuple[float, float, float]
P3, BT_2020 = 12, 9
SRGB, PQ, HLG = 13, 16, 18

# Linear sRGB as linear light of the wider primaries (BT.2087; SMPTE EG 432-1).
_FROM_SRGB = {
    BT_2020: ((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)),
    P3: ((0.8225, 0.1775, 0.0), (0.0332, 0.9668, 0.0), (0.0171, 0.0724, 0.9105)),
}


def linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def curved(value: float) -> float:
    return value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def pq(light: float) -> float:
    """BT.2100, table 4; white of a page has 203 cd/m² of 10,000 (BT.2408)."""
    powered = (light * 203 / 10_000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375)


def hlg(light: float) -> float:
    """BT.2100, table 5, of the light of a scene from 0 to 1."""
    if light <= 1 / 12:
        return math.sqrt(3 * light)
    return 0.17883277 * math.log(12 * light - 0.28466892) + 0.55991073


def encoded(rgb: tuple[int, int, int], primaries: int, transfer: int) -> Rgb:
    """The numbers, from 0 to 1, that mean this sRGB in other code points."""
    light = [linear(value / 255) for value in rgb]
    wide = [sum(a * b for a, b in zip(row, light, strict=True)) for row in _FROM_SRGB[primaries]]
    if transfer == HLG:
        shown = [value * 203 / 1000 for value in wide]
        luma = 0.2627 * shown[0] + 0.6780 * shown[1] + 0.0593 * shown[2]
        wide = [value * luma ** (1 / 1.2 - 1) for value in shown]
    curve = {SRGB: curved, PQ: pq, HLG: hlg}[transfer]
    red, green, blue = (curve(value) for value in wide)
    return red, green, blue


def heic(numbers: Rgb, primaries: int, transfer: int) -> bytes:
    pixels = struct.pack("<3H", *(round(value * 65_535) for value in numbers)) * (64 * 64)
    buffer = io.BytesIO()
    image = pillow_heif.from_bytes("RGB;16", (64, 64), pixels)
    image.save(
        buffer, quality=-1, chroma=444, color_primaries=primaries,
        transfer_characteristics=transfer, matrix_coefficients=9, full_range_flag=1,
    )  # fmt: skip
    return buffer.getvalue()


def with_nclx(content: bytes, primaries: int, transfer: int) -> bytes:
    at = content.index(b"nclx") + 4
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def flat(numbers: Rgb) -> Image.Image:
    red, green, blue = (round(value * 255) for value in numbers)
    return Image.new("RGB", (64, 64), (red, green, blue))


def avif(numbers: Rgb, primaries: int, transfer: int) -> bytes:
    plain = samples.encoded(flat(numbers), "AVIF", quality=100, subsampling="4:4:4")
    return with_nclx(plain, primaries, transfer)


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    body = name + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def png(numbers: Rgb, primaries: int, transfer: int) -> bytes:
    plain = samples.encoded(flat(numbers), "PNG")
    return with_chunk(plain, b"cICP", bytes((primaries, transfer, 0, 1)))


ENCODERS: dict[str, Callable[[Rgb, int, int], bytes]] = {"heic": heic, "avif": avif, "png": png}
COLOURS = [(200, 80, 80), (40, 160, 90), (60, 70, 200), (128, 128, 128), (30, 30, 30)]


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("primaries", [P3, BT_2020])
@pytest.mark.parametrize("transfer", [SRGB, PQ, HLG])
@pytest.mark.parametrize("rgb", COLOURS)
def test_colours_by_code_points_are_those_of_the_twin_in_srgb(
    kind: str, primaries: int, transfer: int, rgb: tuple[int, int, int]
) -> None:
    content = ENCODERS[kind](encoded(rgb, primaries, transfer), primaries, transfer)
    assert near(colour(render(content)), rgb, by=9)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_highlights_brighter_than_a_page_keep_their_order(transfer: int) -> None:
    levels = [0.5, 0.6, 0.7, 0.75] if transfer == PQ else [0.6, 0.75, 0.9, 1.0]
    shown = [colour(render(png((level,) * 3, BT_2020, transfer)))[1] for level in levels]
    assert shown == sorted(shown)
    assert shown[-1] >= 240


P3_POINTS = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


@pytest.mark.parametrize("rgb", COLOURS)
def test_a_png_by_chromaticities_is_its_twin_in_srgb(rgb: tuple[int, int, int]) -> None:
    plain = samples.encoded(flat(encoded(rgb, P3, SRGB)), "PNG")
    assert near(colour(render(with_chunk(plain, b"cHRM", P3_POINTS))), rgb, by=6)


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_a_png_by_gamma_is_its_twin_in_srgb(gamma: float) -> None:
    grey = linear(128 / 255) ** (1 / gamma)
    plain = samples.encoded(flat((grey,) * 3), "PNG")
    chunk = struct.pack(">I", round(100_000 / gamma))
    assert near(colour(render(with_chunk(plain, b"gAMA", chunk))), (128,) * 3, by=4)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"gAMA", bytes(4)),
        (b"cHRM", bytes(32)),
        (b"cHRM", b"\xff" * 32),
        (b"cHRM", b"\0\0\0\1" * 8),
    ],
)
def test_chunks_of_nonsense_change_nothing(name: bytes, content: bytes) -> None:
    plain = samples.encoded(flat((0.5, 0.25, 0.75)), "PNG")
    assert near(colour(render(with_chunk(plain, name, content))), (128, 64, 191), by=6)
