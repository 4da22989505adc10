"""HEIC and AVIF: what their boxes say beyond what the decoders make of it."""

import io
import struct
from collections.abc import Callable
from typing import Any

import pillow_heif
import pytest
import pyvips
from PIL import Image

from image_poster.domain.images import ImageRejectedError
from support import samples
from support.rendered import colour, near, render
from support.samples import CORNERS, corner_colours, looks_like


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[samples.ORIENTATION] = orientation
    return tags.tobytes()


def lying(orientation: int) -> Image.Image:
    """The corners as a sensor sees them, to be turned by the orientation."""
    image = samples.corners()
    turn = samples.UNDONE_BY.get(orientation)
    return image if turn is None else image.transpose(turn)


def heic(orientation: int) -> bytes:
    """Turned by EXIF and by transforms of its own, as its encoder writes it."""
    buffer = io.BytesIO()
    image = pillow_heif.from_pillow(lying(orientation))
    image.save(buffer, quality=90, exif=exif(orientation))
    return buffer.getvalue()


def avif_by_exif(orientation: int) -> bytes:
    """Turned by nothing but EXIF: libvips wrote there that it is upright."""
    image = lying(orientation)
    pixels = pyvips.Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar")
    content = pixels.copy(interpretation="srgb").heifsave_buffer(compression="av1", Q=90)
    headers = [(order, entry(order, samples.ORIENTATION, 1)) for order in "<>"]
    order, upright = next(pair for pair in headers if pair[1] in content)
    return bytes(content.replace(upright, entry(order, samples.ORIENTATION, orientation)))


def entry(order: str, tag: int, value: int) -> bytes:
    """One SHORT of a TIFF directory."""
    return struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)


def avif(orientation: int) -> bytes:
    return samples.encoded(lying(orientation), "AVIF", quality=90, exif=exif(orientation))


def without_transforms(content: bytes) -> bytes:
    """As phones write it: the properties are made free space, which says nothing."""
    return content.replace(b"irot", b"free").replace(b"imir", b"free")


ENCODED: dict[str, Callable[[int], bytes]] = {"heic": heic, "avif": avif}


BY_EXIF: dict[str, Callable[[int], bytes]] = {
    "heic": lambda orientation: without_transforms(heic(orientation)),
    "avif": avif_by_exif,
}


@pytest.mark.parametrize("kind", BY_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_that_only_exif_tells_is_made(kind: str, orientation: int) -> None:
    content = BY_EXIF[kind](orientation)
    assert b"irot" not in content
    assert b"imir" not in content
    result = render(content)
    assert result.large.size == (120, 80) == (result.facts.large.width, result.facts.large.height)
    assert looks_like(corner_colours(result.large), CORNERS)
    assert looks_like(corner_colours(result.small), CORNERS)


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_that_the_boxes_tell_is_made_once(kind: str, orientation: int) -> None:
    content = ENCODED[kind](orientation)
    assert orientation == 1 or b"irot" in content or b"imir" in content
    result = render(content)
    assert result.large.size == (120, 80)
    assert looks_like(corner_colours(result.large), CORNERS)


def test_an_exif_block_of_nonsense_turns_nothing() -> None:
    content = without_transforms(heic(6))
    at = content.index(b"MM\0*")
    for broken in (b"XX\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff"):
        result = render(content[:at] + broken + content[at + len(broken) :])
        assert result.large.size == (80, 120)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("grey", [0, 40, 90, 200, 255])
def test_grey_of_more_than_eight_bits_keeps_its_tones(
    bits: int, grey: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    pixels = struct.pack("<H", grey * 257) * (64 * 64)
    buffer = io.BytesIO()
    pillow_heif.from_bytes("I;16", (64, 64), pixels).save(buffer, quality=-1)
    assert near(colour(render(buffer.getvalue())), (grey,) * 3, by=3)


def deep(mode: str, *values: int) -> bytes:
    pixels = struct.pack(f"<{len(values)}H", *(257 * value for value in values)) * (64 * 64)
    buffer = io.BytesIO()
    pillow_heif.from_bytes(mode, (64, 64), pixels).save(buffer, quality=-1)
    return buffer.getvalue()


def test_colours_of_ten_bits_with_and_without_alpha() -> None:
    assert near(colour(render(deep("RGB;16", 200, 100, 50))), (200, 100, 50), by=6)
    assert near(colour(render(deep("RGBA;16", 200, 100, 50, 255))), (200, 100, 50), by=6)
    assert near(colour(render(deep("RGBA;16", 200, 100, 50, 0))), (255, 255, 255), by=3)


@pytest.mark.parametrize("options", [{}, {"quality": 50}])
def test_of_an_animated_avif_the_first_frame_is_shown(options: dict[str, Any]) -> None:
    frames = [samples.corners(), Image.new("RGB", (120, 80))]
    content = samples.encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:], **options)
    assert content[8:12] == b"avis"
    assert looks_like(corner_colours(render(content).small), CORNERS)


@pytest.mark.parametrize(("codec", "named"), [(b"j2k1", "JPEG 2000"), (b"vvc1", "VVC")])
def test_a_coding_that_no_decoder_here_has_is_called_by_its_name(codec: bytes, named: str) -> None:
    with pytest.raises(ImageRejectedError) as refused:
        render(samples.heic().replace(b"hvc1", codec))
    assert refused.value.code == "image_unsupported"
    assert named in refused.value.detail
