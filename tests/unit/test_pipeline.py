"""Image work, image by image: upright, unstretched, in sRGB, without metadata."""

import asyncio
import concurrent.futures
import io
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image

from image_poster.adapters.images.decoders import decode, translate_error
from image_poster.adapters.images.header import Admission
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.domain.images import ImageFit, ImageRejectedError, ImageWorkFailedError
from image_poster.editions.local.checks import self_test
from support import samples
from support.rendered import RenderedFiles, colour, near, pixel
from support.samples import BLUE, CORNERS, GREEN, RED, YELLOW, corner_colours, looks_like

Make = Callable[..., RenderedFiles]
_BASELINE, _PROGRESSIVE = 0xC0, 0xC2  # SOF0 and SOF2 (ITU T.81, table B.1)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def render(
        content: bytes, *, fit: ImageFit = "cover", max_pixels: int = 100_000_000
    ) -> RenderedFiles:
        return RenderedFiles(tmp_path, content, RenderSettings(fit=fit, max_pixels=max_pixels))

    return render


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(120, 80), (80, 120), (2400, 1600)])
def test_all_eight_orientations_come_out_upright(
    make: Make, orientation: int, size: tuple[int, int]
) -> None:
    result = make(samples.from_phone(orientation, *size))
    for image in (result.small, result.large):
        assert looks_like(corner_colours(image), CORNERS)
    assert (result.large.width > result.large.height) == (size[0] > size[1])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("width", [3199, 3200, 3201, 6401, 12_807])
def test_a_jpeg_that_is_shrunk_while_it_is_decoded_is_whole_and_upright(
    make: Make, orientation: int, width: int
) -> None:
    result = make(samples.from_phone(orientation, width, width // 2 + 1))
    assert (result.large.width, result.large.height) == (1600, result.facts.large.height)
    assert abs(result.large.height - 800) <= 1
    assert looks_like(corner_colours(result.large), CORNERS)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_a_senseless_orientation_is_ignored(make: Make, orientation: int) -> None:
    result = make(samples.from_phone(orientation))
    assert looks_like(corner_colours(result.large), CORNERS)


@pytest.mark.parametrize("kind", samples.samples())
def test_every_format_is_read(make: Make, kind: str) -> None:
    result = make(samples.samples()[kind])
    assert result.small.size == (600, 600)
    assert result.large.size == (120, 80)
    assert looks_like(corner_colours(result.small), CORNERS)


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp", "gif", "heic", "avif"])
def test_the_sniffed_format_picks_the_one_loader_and_all_others_are_blocked(kind: str) -> None:
    """After an image was opened, libvips reads nothing but its format: in a process of its own,
    since blocking lasts."""
    files = {name: content for name, content in samples.samples().items() if name != "heic"}
    files["svg"] = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    files["tiff"] = samples.by_vips(".tif")
    read = in_a_process(loaders_left, samples.samples()[kind], files)
    assert read <= {kind, "animated gif" if kind == "gif" else kind}


def loaders_left(content: bytes, files: dict[str, bytes]) -> set[str]:
    """Decode `content`, then say which of `files` libvips can still open."""
    with tempfile.TemporaryFile() as original:
        original.write(content)
        original.flush()
        decode(original.fileno(), Admission(1_000_000, 2_000_000_000, lambda _needs: None))
    return {name for name, file in files.items() if is_opened(file)}


def is_opened(content: bytes) -> bool:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            pyvips.Image.new_from_file(file.name)
        except pyvips.Error:
            return False
        return True


def in_a_process(function: Callable[..., Any], *arguments: object) -> Any:
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(function, *arguments).result(timeout=60)


def test_what_only_pretends_to_be_a_format_is_not_given_to_another_loader(make: Make) -> None:
    """The head of an AVIF, well formed, before an SVG that another loader would render."""
    head = b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00mif1miafavif"
    with pytest.raises(ImageRejectedError):
        make(head + samples.svg_disguised_as(b"text"))


def test_this_machine_reads_all_formats() -> None:
    assert asyncio.run(self_test()).unreadable == []


def test_the_square_is_cut_from_the_middle_and_never_stretched(make: Make) -> None:
    """A circle in the middle stays a circle."""
    image = Image.new("RGB", (1800, 900), "white")
    image.paste((0, 0, 0), (800, 350, 1000, 550))
    result = make(samples.encoded(image, "PNG"))
    dark = result.small.convert("L").point(lambda value: 255 if value < 128 else 0).getbbox()
    assert dark is not None
    left, top, right, bottom = dark
    assert abs((right - left) - (bottom - top)) <= 2
    assert abs((left + right) / 2 - 300) <= 2
    assert abs(right - left - 200 * 600 / 900) <= 2


@pytest.mark.parametrize(
    ("source", "large"),
    [
        ((6000, 4000), (1600, 1067)),
        ((4000, 6000), (1067, 1600)),
        ((1600, 1600), (1600, 1600)),
        ((1601, 1000), (1600, 999)),
        ((900, 700), (900, 700)),
        ((1, 1), (1, 1)),
        ((4000, 1), (1600, 1)),
        ((1, 4000), (1, 1600)),
        ((5000, 300), (1600, 96)),
    ],
)
def test_the_whole_image_is_at_most_1600_and_never_enlarged(
    make: Make, source: tuple[int, int], large: tuple[int, int]
) -> None:
    result = make(samples.encoded(Image.new("RGB", source, RED), "PNG"))
    assert result.large.size == large == (result.facts.large.width, result.facts.large.height)
    assert result.small.size == (600, 600) == (result.facts.small.width, result.facts.small.height)


@pytest.mark.parametrize(
    ("fit", "source", "small"),
    [
        ("contain", (1200, 800), (600, 400)),
        ("contain", (300, 200), (300, 200)),
        ("contain", (3000, 10), (600, 2)),
        ("pad", (1200, 800), (600, 600)),
        ("pad", (300, 200), (600, 600)),
    ],
)
def test_other_fits(
    make: Make, fit: ImageFit, source: tuple[int, int], small: tuple[int, int]
) -> None:
    result = make(samples.encoded(samples.corners(*source), "PNG"), fit=fit)
    assert result.small.size == small
    if fit == "pad":
        assert red(result.small, 300, 5) >= 250
        assert red(result.small, 300, 300) < 250


def red(image: Image.Image, x: int, y: int) -> int:
    return pixel(image, x, y)[0]


def test_transparency_becomes_white(make: Make) -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    for kind in ("PNG", "WEBP"):
        assert near(colour(make(samples.encoded(clear, kind, lossless=True))), (255, 255, 255))
    half = Image.new("RGBA", (64, 64), (0, 0, 0, 128))
    assert near(colour(make(samples.encoded(half, "PNG"))), (127, 127, 127))


def test_palette_with_a_transparent_colour(make: Make) -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert near(colour(make(samples.encoded(image, "PNG"))), (200, 0, 0))
    assert near(colour(make(samples.encoded(image, "GIF", transparency=1))), (255, 255, 255))


def test_grey_sixteen_bit_and_bilevel(make: Make) -> None:
    assert near(colour(make(samples.encoded(Image.new("L", (64, 64), 90)))), (90, 90, 90))
    assert near(
        colour(make(samples.encoded(Image.new("LA", (64, 64), (90, 255)), "PNG"))), (90, 90, 90)
    )
    assert near(colour(make(samples.encoded(Image.new("1", (64, 64), 1), "PNG"))), (255,) * 3)
    deep = pyvips.Image.black(64, 64, bands=3) + [257 * value for value in (200, 100, 50)]
    png = deep.cast("ushort").copy(interpretation="rgb16").write_to_buffer(".png")
    assert near(colour(make(png)), (200, 100, 50))
    grey = (pyvips.Image.black(64, 64) + 257 * 60).cast("ushort").copy(interpretation="grey16")
    assert near(colour(make(grey.write_to_buffer(".png"))), (60, 60, 60))


def test_cmyk_with_and_without_a_profile(make: Make) -> None:
    plain = samples.encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)))
    assert near(colour(make(plain)), (237, 28, 36), by=30)
    red = samples.flat(RED)
    profiled = red.icc_transform("cmyk", input_profile="srgb").jpegsave_buffer(Q=95)
    assert near(colour(make(profiled)), RED, by=25)


def test_an_embedded_profile_is_converted_not_just_dropped(make: Make) -> None:
    """The same numbers mean a stronger red in Display P3 than in sRGB."""
    image = samples.flat((200, 80, 80))
    wide = image.icc_transform("p3", input_profile="srgb").pngsave_buffer()
    assert red(samples.opened(wide), 5, 5) < 195
    result = make(wide)
    assert near(colour(result), (200, 80, 80), by=4)
    assert "icc_profile" not in result.small.info


def test_a_damaged_profile_does_not_stop_the_image(make: Make) -> None:
    content = samples.encoded(Image.new("RGB", (64, 64), RED), icc_profile=b"no profile at all")
    assert near(colour(make(content)), RED)


def test_bmps_of_several_kinds(make: Make) -> None:
    for mode, value in (("RGB", RED), ("L", 90), ("P", 0), ("1", 1), ("RGBA", (*RED, 255))):
        result = make(samples.encoded(Image.new(mode, (64, 48), value), "BMP"))
        assert result.large.size == (64, 48)


def test_only_the_first_frame_of_an_animation_is_shown(make: Make) -> None:
    assert looks_like(corner_colours(make(samples.animated_gif()).small), CORNERS)
    frames = [samples.corners(), Image.new("RGB", (120, 80))]
    webp = samples.encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert looks_like(corner_colours(make(webp).small), CORNERS)


def test_a_turned_heic_is_turned_once(make: Make) -> None:
    import pillow_heif

    exif = Image.Exif()
    exif[samples.ORIENTATION] = 6
    buffer = io.BytesIO()
    lying = samples.corners().transpose(Image.Transpose.ROTATE_90)
    pillow_heif.from_pillow(lying).save(buffer, quality=90, exif=exif.tobytes())
    result = make(buffer.getvalue())
    assert result.large.size == (120, 80)
    assert looks_like(corner_colours(result.large), (RED, GREEN, BLUE, YELLOW))


def test_nothing_but_the_image_is_in_what_is_served(make: Make) -> None:
    result = make(samples.from_phone(6, 2400, 1600))
    for content, frame in ((result.small_bytes, _PROGRESSIVE), (result.large_bytes, _BASELINE)):
        markers = {content[at + 1] for at in range(len(content) - 1) if content[at] == 0xFF}
        segments = content[: content.index(b"\xff\xda")]
        assert b"Exif" not in segments
        assert b"Phone Maker" not in segments
        assert b"ICC_PROFILE" not in segments
        assert b"http://ns.adobe.com" not in segments
        assert markers & {_BASELINE, _PROGRESSIVE} == {frame}


def test_the_placeholder_is_a_blurhash_of_the_image(make: Make) -> None:
    import blurhash

    result = make(samples.encoded(Image.new("RGB", (64, 64), RED), "PNG"))
    (pixel,) = (blurhash.decode(result.facts.placeholder, 4, 4)[1][1:2],)
    assert near(tuple(pixel[0]), RED)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "heic", "avif"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_cut_image_is_unreadable_and_says_so(make: Make, kind: str, share: float) -> None:
    noise = Image.effect_noise((300, 200), 90).convert("RGB")
    makers: dict[str, Callable[[], bytes]] = {
        "jpeg": lambda: samples.encoded(noise),
        "png": lambda: samples.encoded(noise, "PNG"),
        "webp": lambda: samples.encoded(noise, "WEBP"),
        "gif": lambda: samples.encoded(noise.convert("P"), "GIF"),
        "bmp": lambda: samples.encoded(noise, "BMP"),
        "heic": samples.heic,
        "avif": lambda: samples.by_vips(".avif"),
    }
    content = makers[kind]()
    with pytest.raises(ImageRejectedError) as refused:
        make(content[: int(len(content) * share)])
    assert refused.value.code == "image_unreadable"
    assert "again" in refused.value.detail


def test_too_many_pixels_are_refused_from_the_header_of_every_format(make: Make) -> None:
    for name, content in samples.samples().items():
        with pytest.raises(ImageRejectedError) as refused:
            make(content, max_pixels=120 * 80 - 1)
        assert refused.value.code == "image_too_large", name
        make(content, max_pixels=120 * 80)


@pytest.mark.parametrize("text", ["vips: out of memory", "write: No space left on device"])
def test_this_machines_troubles_are_not_blamed_on_the_image(text: str) -> None:
    assert isinstance(translate_error(pyvips.Error(text)), ImageWorkFailedError)
    assert isinstance(translate_error(OSError(text)), ImageWorkFailedError)


def test_a_bomb_is_refused_from_its_header(make: Make) -> None:
    content = samples.bomb()
    assert len(content) < 3000
    with pytest.raises(ImageRejectedError) as refused:
        make(content)
    assert refused.value.code == "image_too_large"
    assert "50000 x 50000" in refused.value.detail
