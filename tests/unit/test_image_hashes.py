"""PDQ hashes of images: as the reference has them, and alike for what looks alike."""

import io
import os
import random
import re
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, ImageOps

from image_poster.adapters.images.pipeline import hash_pixels
from image_poster.adapters.images.protocol import RenderSettings, check_rendered
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.domain.block_lists import MAX_DISTANCE, MIN_QUALITY, hash_distance
from image_poster.domain.images import (
    ImageFit,
    ImageHash,
    ImageWorkFailedError,
    RenderedImage,
    Size,
)
from image_poster.ports.images import Workspace
from support import samples
from support.pdq_reference import reference_hash
from support.rendered import RenderedFiles, render

pytestmark = pytest.mark.slow(reason="computes the hashes of some hundred images")

# A checkout of github.com/facebook/ThreatExchange, whose images may not be copied into this one.
PUBLISHED = Path(os.environ.get("PDQ_REFERENCE", "no-such-folder"))
VECTOR = re.compile(r'SAMPLE_MEDIA \+ "([^"]+)",\s*"([0-9a-f]{64})"')
# The reference's own implementations differ by as much (README of `pdq`).
MAX_VECTOR_DISTANCE = 10


def scene(seed: int, width: int = 1600, height: int = 1200) -> Image.Image:
    """Something like a photograph: large soft shapes, smaller ones, and noise."""
    chance = random.Random(seed)
    image = Image.new("RGB", (width, height))
    for cells, strength in ((5, 1.0), (13, 0.5), (40, 0.25)):
        layer = Image.frombytes("RGB", (cells, cells), chance.randbytes(3 * cells * cells))
        image = Image.blend(
            image, layer.resize((width, height), Image.Resampling.BICUBIC), strength
        )
    return image


def hash_of(image: Image.Image) -> ImageHash:
    pixels = memoryview(image.convert("RGB").tobytes())
    return hash_pixels(pixels, Size(image.width, image.height))


def rendered_hash(content: bytes) -> ImageHash:
    facts = render(content).facts
    return ImageHash(facts.hash, facts.hash_quality)


def distance(first: ImageHash, second: ImageHash) -> int:
    assert min(first.quality, second.quality) >= MIN_QUALITY
    return hash_distance(first.digits, second.digits)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        *((5, 5), (34, 42), (64, 64), (127, 129), (128, 256), (300, 200), (511, 385), (512, 512)),
        *((513, 100), (900, 600), (600, 1600), (1600, 1200)),
    ],
)
def test_a_hash_is_that_of_the_reference(width: int, height: int) -> None:
    image = scene(width + height, width, height)
    digits, quality = hash_of(image)
    bits, expected_quality = reference_hash(image)
    # At the last row and column, the reference averages what is inside the image.
    assert (int(digits, 16) ^ bits).bit_count() <= 2
    assert abs(quality - expected_quality) <= 1


def test_the_quality_is_that_of_the_reference_below_its_maximum() -> None:
    qualities = set()
    for contrast in range(1, 30, 4):
        image = Image.blend(
            Image.new("RGB", (320, 240), "grey"), scene(7, 320, 240), contrast / 100
        )
        quality = hash_of(image).quality
        assert abs(quality - reference_hash(image)[1]) <= 1
        qualities.add(quality)
    assert len(qualities) > 3


if PUBLISHED.is_dir():  # its images may not be committed: docs/decisions/0042

    def test_the_published_vectors_are_met() -> None:
        test_file = PUBLISHED / "pdq/python/pdqhashing/tests/pdq_test.py"
        vectors = VECTOR.findall(test_file.read_text())
        paths = {PUBLISHED / "pdq/data" / name: digits for name, digits in vectors}
        present = {path: digits for path, digits in paths.items() if path.is_file()}
        assert len(present) == 18  # misc-images/b.jpg is in no checkout
        for path, expected in present.items():
            image = hash_of(samples.opened(path.read_bytes()))
            assert hash_distance(image.digits, expected) <= MAX_VECTOR_DISTANCE, path


@pytest.mark.parametrize("quality", [90, 60, 30])
def test_another_encoding_has_nearly_the_same_hash(quality: int) -> None:
    image = scene(1)
    original = rendered_hash(samples.encoded(image, "PNG"))
    assert distance(original, rendered_hash(samples.encoded(image, quality=quality))) <= 10


@pytest.mark.parametrize("seed", range(6))
def test_a_smaller_copy_matches_and_another_image_does_not(seed: int) -> None:
    image = scene(seed)
    original = rendered_hash(samples.encoded(image, quality=92))
    for width in (600, 300):
        copy = image.resize((width, width * 3 // 4), Image.Resampling.LANCZOS)
        assert distance(original, rendered_hash(samples.encoded(copy, quality=80))) <= MAX_DISTANCE
    assert distance(original, hash_of(scene(seed + 100))) > MAX_DISTANCE


def test_the_rendition_has_nearly_the_hash_of_its_original(tmp_path: Path) -> None:
    content = samples.encoded(scene(2, 3000, 2000), quality=92)
    result = RenderedFiles(tmp_path, content, RenderSettings())
    original = ImageHash(result.facts.hash, result.facts.hash_quality)
    assert distance(original, hash_of(result.large)) <= 10
    assert distance(original, hash_of(scene(2, 3000, 2000))) <= MAX_DISTANCE


@pytest.mark.parametrize("fit", ["cover", "contain", "pad"])
def test_the_hash_is_of_the_whole_image_whatever_the_square_shows(
    tmp_path: Path, fit: ImageFit
) -> None:
    image = scene(3, 1200, 400)
    result = RenderedFiles(tmp_path, samples.encoded(image, "PNG"), RenderSettings(fit=fit))
    assert result.facts.hash == hash_of(image).digits


def test_the_hash_of_an_image_longer_than_its_rendition_is_that_of_the_rendition() -> None:
    image = scene(4, 4000, 700)
    shown = image.resize((1600, 280), Image.Resampling.LANCZOS)
    result = rendered_hash(samples.encoded(image, "PNG"))
    assert distance(result, hash_of(shown)) <= 4


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_the_hash_is_of_the_upright_image(orientation: int) -> None:
    image = scene(5, 800, 600)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = samples.encoded(image, quality=95, exif=exif)
    upright = ImageOps.exif_transpose(samples.opened(content))
    assert distance(rendered_hash(content), hash_of(upright)) <= 4
    assert distance(rendered_hash(content), hash_of(image)) > MAX_DISTANCE


def test_a_transparent_image_has_the_hash_of_it_on_white() -> None:
    image = scene(6, 400, 300)
    alpha = Image.linear_gradient("L").resize(image.size)
    on_white = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    image.putalpha(alpha)
    assert distance(rendered_hash(samples.encoded(image, "PNG")), hash_of(on_white)) <= 2


@pytest.mark.parametrize("colour", ["white", "black", "#123456"])
def test_an_image_of_one_colour_has_no_quality(colour: str) -> None:
    assert rendered_hash(samples.encoded(Image.new("RGB", (300, 200), colour))).quality == 0


@pytest.mark.parametrize("size", [(1, 1), (4, 500), (500, 4)])
def test_an_image_of_less_than_five_pixels_has_the_empty_hash(size: tuple[int, int]) -> None:
    content = samples.encoded(scene(8, *size), "PNG")
    assert rendered_hash(content) == ImageHash("0" * 64, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "AVIF", "HEIC"])
def test_an_image_has_nearly_the_same_hash_in_every_format(kind: str) -> None:
    image = scene(10, 800, 600)
    if kind == "HEIC":
        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=80)
        content = buffer.getvalue()
    else:
        content = samples.encoded(image, kind)
    assert distance(rendered_hash(content), hash_of(image)) <= 10


@pytest.mark.anyio
async def test_the_confined_process_sends_the_hash(tmp_path: Path) -> None:
    image = scene(9, 640, 480)
    original = tmp_path / "original"
    original.write_bytes(samples.encoded(image, "PNG"))
    renderer = VipsImageRenderer(RenderSettings(), children=1)
    try:
        rendered = await renderer.render(Workspace(original, tmp_path))
    finally:
        await renderer.close()
    assert ImageHash(rendered.hash, rendered.hash_quality) == hash_of(image)


@pytest.mark.parametrize(
    ("digits", "quality"),
    [
        *(("0" * 63, 80), ("0" * 65, 80), ("g" * 64, 80), ("0" * 64 + "\n", 80)),
        *(("", 101), ("0" * 64, -1)),
    ],
)
def test_the_server_accepts_no_senseless_hash_of_a_child(digits: str, quality: int) -> None:
    size = Size(600, 600)
    with pytest.raises(ImageWorkFailedError, match="hash"):
        check_rendered(RenderedImage(size, size, "U0hash", digits, quality))


def test_a_result_without_a_hash_is_accepted() -> None:
    rendered = RenderedImage(Size(600, 600), Size(1600, 1067), "U0hash")
    assert check_rendered(rendered) is rendered
