"""Facts that only the header tells: a missing end, a frame beside its canvas, a kind that no
decoder here shows."""

import random

import pytest
from PIL import Image

from image_poster.adapters.images.decoders import read_facts
from image_poster.adapters.images.header import HeaderFacts
from image_poster.domain.images import ImageFormat, ImageRejectedError
from support import samples
from support.rendered import near, pixel, render
from support.samples import CORNERS, corner_colours, looks_like


def noise(width: int = 300, height: int = 200) -> Image.Image:
    pixels = random.Random(11).randbytes(width * height * 3)
    return Image.frombytes("RGB", (width, height), pixels)


JPEGS = {
    "baseline": samples.encoded(samples.corners(600, 400)),
    "baseline noise": samples.encoded(noise()),
    "progressive": samples.encoded(samples.corners(600, 400), progressive=True),
    "progressive noise": samples.encoded(noise(), progressive=True),
    "with restart markers": samples.encoded(noise(), restart_marker_blocks=4),
    "with a thumbnail": samples.encoded(samples.corners(), comment=samples.jpeg(32, 32)),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("missing_bytes", [1, 2])
def test_a_jpeg_that_only_lacks_its_last_marker_is_shown_whole(
    kind: str, missing_bytes: int
) -> None:
    whole, cut = render(JPEGS[kind]), render(JPEGS[kind][:-missing_bytes])
    assert cut.large_bytes == whole.large_bytes


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("missing_bytes", [3, 4, 5, 8, 20, 100])
def test_a_jpeg_that_breaks_off_in_its_data_is_not_shown(kind: str, missing_bytes: int) -> None:
    with pytest.raises(ImageRejectedError) as refused:
        render(JPEGS[kind][:-missing_bytes])
    assert refused.value.code == "image_unreadable"


def test_a_progressive_jpeg_that_breaks_off_between_two_scans_is_not_shown() -> None:
    content = JPEGS["progressive"]
    scans = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for at in scans[1:]:
        with pytest.raises(ImageRejectedError):
            render(content[:at])


def with_frame_header(marker: int, bits: int = 8) -> bytes:
    """A JPEG that says of itself that it is coded otherwise: that is all that is looked at."""
    content = bytearray(samples.jpeg())
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4] = marker, bits
    return bytes(content)


@pytest.mark.parametrize(
    ("marker", "bits", "named"),
    [
        (0xC1, 12, "12 bits"),
        (0xC2, 12, "12 bits"),
        (0xC3, 8, "lossless JPEG"),
        (0xC3, 16, "lossless JPEG"),
        (0xC5, 8, "hierarchical JPEG"),
        (0xCB, 8, "lossless JPEG"),
        (0xF7, 8, "JPEG-LS"),
    ],
)
def test_a_jpeg_that_is_intact_but_not_decoded_here_is_called_by_its_name(
    marker: int, bits: int, named: str
) -> None:
    with pytest.raises(ImageRejectedError) as refused:
        render(with_frame_header(marker, bits))
    assert refused.value.code == "image_unsupported"
    assert named in refused.value.detail
    assert "damaged" not in refused.value.detail
    assert "again" not in refused.value.detail


def gif(
    canvas: tuple[int, int], left: int = 0, top: int = 0, *, transparent: bool = False
) -> bytes:
    """The corners as the first frame, somewhere on a canvas of another size; where they are yellow
    they may be transparent."""
    image = samples.corners().convert("P", palette=Image.Palette.ADAPTIVE)
    options = {"transparency": image.getpixel((100, 70))} if transparent else {}
    content = bytearray(samples.encoded(image, "GIF", **options))
    content[6:10] = b"".join(side.to_bytes(2, "little") for side in canvas)
    at = content.index(b"," + bytes(4) + b"\x78\0\x50\0")
    content[at + 1 : at + 5] = left.to_bytes(2, "little") + top.to_bytes(2, "little")
    return bytes(content)


@pytest.mark.parametrize("transparent", [False, True])
def test_a_gif_is_white_where_its_first_frame_does_not_reach(*, transparent: bool) -> None:
    content = gif((240, 160), 80, 60, transparent=transparent)
    assert read_facts(ImageFormat.GIF, content).frame == (80, 60, 120, 80)
    large = render(content).large
    assert large.size == (240, 160)
    for place in [(10, 10), (230, 10), (10, 150), (230, 150), (120, 150)]:
        assert near(pixel(large, *place), (255, 255, 255), by=6)
    expected = (*CORNERS[:3], (255, 255, 255) if transparent else CORNERS[3])
    assert looks_like(corner_colours(large.crop((80, 60, 200, 140))), expected)


def test_a_gif_that_fills_its_canvas_is_as_it_was() -> None:
    assert looks_like(corner_colours(render(gif((120, 80), 0, 0)).large), CORNERS)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_headers_of_noise_say_nothing(image_format: ImageFormat) -> None:
    """Nothing but a rejection comes out of the readers, whatever goes in."""
    chance = random.Random(7)
    sample = next(iter(by_format(image_format)))
    for _ in range(300):
        content = bytearray(sample[: chance.randrange(14, len(sample))])
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(3, len(content))] = chance.randrange(256)
        try:
            assert isinstance(read_facts(image_format, bytes(content)), HeaderFacts)
        except ImageRejectedError as exc:
            assert exc.code == "image_unsupported"


def by_format(image_format: ImageFormat) -> list[bytes]:
    return [samples.samples()[image_format.name.lower()]]
