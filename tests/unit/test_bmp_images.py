"""BMP with bit masks: each channel is stretched to its full range, wherever its bits are."""

import struct

import pytest

from image_poster.domain.images import ImageRejectedError
from support import samples
from support.rendered import render
from support.samples import BLUE, CORNERS, corner_colours, looks_like

MASKS: dict[str, tuple[int, tuple[int, ...]]] = {
    "565": (16, (0xF800, 0x07E0, 0x001F)),
    "555": (16, (0x7C00, 0x03E0, 0x001F)),
    "4444": (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
    "444 the other way round": (16, (0x000F, 0x00F0, 0x0F00)),
    "8888": (32, (0xFF0000, 0x00FF00, 0x0000FF, 0xFF000000)),
    "8888 the other way round": (32, (0x000000FF, 0x0000FF00, 0x00FF0000, 0xFF000000)),
    "red in the top byte": (32, (0xFF000000, 0x00FF0000, 0x0000FF00)),
    "1010102": (32, (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000)),
    "11, 11 and 10 bits": (32, (0xFFE00000, 0x001FFC00, 0x000003FF)),
    "an odd one": (32, (0x07F80000, 0x0000FE00, 0x0000003E)),
}


def packed(colour: tuple[int, ...], masks: tuple[int, ...]) -> int:
    word = 0
    for value, mask in zip(colour, masks, strict=False):
        lowest = (mask & -mask) or 1
        word |= round(value / 255 * (mask // lowest)) * lowest
    return word


def bmp(bits: int, masks: tuple[int, ...], *, alpha: int = 255, top_down: bool = False) -> bytes:
    """The corners, with as long a header as the masks need; an odd width, so that rows are
    padded."""
    width, height = 61, 40
    image = samples.corners(width, height)
    rows = []
    for y in range(height):
        words = [packed((*image.getpixel((x, y)), alpha), masks) for x in range(width)]  # type: ignore[misc]
        row = struct.pack(f"<{width}{'H' if bits == 16 else 'I'}", *words)
        rows.append(row + bytes(-len(row) % 4))
    pixels = b"".join(rows if top_down else reversed(rows))
    size = 56 if len(masks) == 4 else 40
    signed_height = -height if top_down else height
    header = struct.pack("<IiiHHIIiiII", size, width, signed_height, 1, bits, 3, 0, 0, 0, 0, 0)
    header += struct.pack(f"<{len(masks)}I", *masks)
    at = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + header + pixels


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("top_down", [False, True])
def test_every_mask_gives_the_same_colours(kind: str, *, top_down: bool) -> None:
    large = render(bmp(*MASKS[kind], top_down=top_down)).large
    assert large.size == (61, 40)
    assert looks_like(corner_colours(large), CORNERS)
    assert all(
        abs(level - other) <= 14
        for actual, wanted in zip(corner_colours(large), CORNERS, strict=True)
        for level, other in zip(actual, wanted, strict=True)
    )


@pytest.mark.parametrize("kind", ["4444", "8888", "1010102"])
def test_a_mask_for_alpha_is_heeded(kind: str) -> None:
    assert looks_like(corner_colours(render(bmp(*MASKS[kind], alpha=0)).large), ((255,) * 3,) * 4)


def test_a_mask_of_nothing_is_a_channel_without_light() -> None:
    corner = corner_colours(render(bmp(32, (0, 0, 0xFF))).large)[2]
    assert looks_like((corner,), ((0, 0, BLUE[2]),))


def test_a_bmp_that_breaks_off_is_not_shown() -> None:
    with pytest.raises(ImageRejectedError) as refused:
        render(bmp(*MASKS["565"])[:-4])
    assert refused.value.code == "image_unreadable"


@pytest.mark.parametrize(("compression", "named"), [(4, "holds a JPEG"), (5, "holds a PNG")])
def test_a_bmp_that_wraps_another_format_is_called_by_its_name(
    compression: int, named: str
) -> None:
    content = bytearray(bmp(*MASKS["8888"]))
    content[30] = compression
    with pytest.raises(ImageRejectedError) as refused:
        render(bytes(content))
    assert refused.value.code == "image_unsupported"
    assert named in refused.value.detail
