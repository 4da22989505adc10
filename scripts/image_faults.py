"""Draw docs/decisions/0020-faults.jpg: images before and after the fix of each fault.

"Before" is the code of BEFORE, run from a git worktree of it; "after" is this tree. The images come
from the tests of each fault.

python scripts/image_faults.py
"""

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pillow_heif
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
BEFORE = "b19e295"
SHEET = ROOT / "docs" / "decisions" / "0020-faults.jpg"
sys.path[:0] = [str(ROOT / "tests")]

from support import samples  # noqa: E402 - after the path
from unit import (  # noqa: E402
    test_bmp_images,
    test_code_points,
    test_heif_brands,
    test_heif_images,
    test_image_colours,
    test_image_headers,
)

# Render each file of a folder, with whatever `render` there is, and say what came of it.
RENDER = """
import json, sys
from pathlib import Path
from image_poster.adapters.images import pipeline
folder, found = Path(sys.argv[1]), {}
for path in sorted(folder.glob("*.in")):
    made = path.with_suffix(sys.argv[2])
    made.mkdir()
    try:
        if sys.argv[2] == ".before":
            pipeline.render(path, made, pipeline.RenderSettings())
        else:
            from support.rendering import render_file
            from image_poster.adapters.images.protocol import RenderSettings
            render_file(path, made, RenderSettings())
        found[path.stem] = "ready"
    except Exception as exc:
        found[path.stem] = str(exc)
print(json.dumps(found))
"""
WIDTH, HEIGHT, TEXT = 132, 90, 330


class Case(NamedTuple):
    """A fault in words, the image that shows it, and its correct appearance."""

    fault: str
    make: Callable[[], bytes]
    right: Callable[[], Image.Image]


def hdr(transfer: int) -> bytes:
    """The corners in HDR, as a HEIC of 10 bits."""
    rows = []
    for y in range(80):
        for x in range(120):
            colour = samples.CORNERS[(y >= 40) * 2 + (x >= 60)]
            numbers = test_code_points.encoded(colour, test_code_points.BT_2020, transfer)
            rows.append(struct.pack("<3H", *(round(number * 65_535) for number in numbers)))
    buffer = io.BytesIO()
    heif = pillow_heif.from_bytes("RGB;16", (120, 80), b"".join(rows))
    heif.save(
        buffer, quality=90, chroma=444, color_primaries=9, transfer_characteristics=transfer,
        matrix_coefficients=9, full_range_flag=1,
    )  # fmt: skip
    return buffer.getvalue()


def p3_numbers() -> Image.Image:
    """The corners as values of Display P3, rounded to 8 bits."""
    image = Image.new("RGB", (120, 80))
    for index, colour in enumerate(samples.CORNERS):
        numbers = test_code_points.encoded(colour, test_code_points.P3, test_code_points.SRGB)
        left, top = index % 2 * 60, index // 2 * 40
        red, green, blue = (round(number * 255) for number in numbers)
        image.paste((red, green, blue), (left, top, left + 60, top + 40))
    return image


def p3_png() -> bytes:
    """The corners in Display P3, declared by cICP."""
    plain = samples.encoded(p3_numbers(), "PNG")
    return test_code_points.with_chunk(plain, b"cICP", bytes((12, 13, 0, 1)))


def p3_avif() -> bytes:
    """The corners in Display P3, declared by nclx."""
    plain = samples.encoded(p3_numbers(), "AVIF", quality=95, subsampling="4:4:4")
    return test_code_points.with_nclx(plain, 12, 13)


def deep_grey() -> bytes:
    """The corners in grey, as a HEIC of 10 bits."""
    grey = samples.corners().convert("L")
    pixels = b"".join(struct.pack("<H", value * 257) for value in grey.tobytes())
    buffer = io.BytesIO()
    pillow_heif.from_bytes("I;16", (120, 80), pixels).save(buffer, quality=-1)
    return buffer.getvalue()


def animated_avif() -> bytes:
    """The corners, then black."""
    black = Image.new("RGB", (120, 80))
    return samples.encoded(samples.corners(), "AVIF", save_all=True, append_images=[black])


def unusable_profile() -> bytes:
    """The corners with a profile that describes no device."""
    profile = dict(test_image_colours.unusable_profiles())["class link"]
    return samples.encoded(samples.corners(), icc_profile=profile)


def on_canvas() -> Image.Image:
    """The corners on a larger page."""
    canvas = Image.new("RGB", (240, 160), (255, 255, 255))
    canvas.paste(samples.corners(), (80, 60))
    return canvas


def corners() -> Image.Image:
    """The image of most cases."""
    return samples.corners()


def no_image() -> Image.Image:
    """A placeholder for a case without a correct image."""
    return Image.new("RGB", (1, 1), "white")


def sequence() -> bytes:
    """An image sequence of one frame."""
    return test_heif_brands.sequence(samples.heic(), b"hvc1", b"hvcC", b"hevc", wide=False)


def by_mask(kind: str) -> Callable[[], bytes]:
    """A BMP with these bit masks."""
    return lambda: test_bmp_images.bmp(*test_bmp_images.MASKS[kind])


CASES = [
    Case("HEIC turned by EXIF alone", lambda: test_heif_images.BY_EXIF["heic"](6), corners),
    Case("AVIF turned by EXIF alone", lambda: test_heif_images.BY_EXIF["avif"](6), corners),
    Case("JPEG with an ICC profile of class link", unusable_profile, corners),
    Case("HEIC, grey of 10 bits", deep_grey, lambda: corners().convert("L")),
    Case("HEIC in HDR (PQ)", lambda: hdr(test_code_points.PQ), corners),
    Case("HEIC in HDR (HLG)", lambda: hdr(test_code_points.HLG), corners),
    Case("AVIF in Display P3 (nclx)", p3_avif, corners),
    Case("PNG in Display P3 (cICP)", p3_png, corners),
    Case("animated AVIF", animated_avif, corners),
    Case("HEIC of the brand mif1 alone",
         lambda: test_heif_brands.branded(samples.heic(), b"mif1"), corners),
    Case("HEVC image sequence", sequence, corners),
    Case("GIF, first frame smaller than its canvas",
         lambda: test_image_headers.gif((240, 160), 80, 60), on_canvas),
    Case("BMP, masks 565", by_mask("565"), lambda: samples.corners(61, 40)),
    Case("BMP, masks 4444", by_mask("4444"), lambda: samples.corners(61, 40)),
    Case("BMP, masks 1010102", by_mask("1010102"), lambda: samples.corners(61, 40)),
    Case("JPEG without its last marker", lambda: samples.jpeg()[:-2], corners),
    Case("JPEG of 12 bits, intact but not supported",
         lambda: test_image_headers.with_frame_header(0xC1, 12), no_image),
]  # fmt: skip


def rendered(folder: Path, source: Path, kind: str) -> dict[str, str]:
    """Render the files in `folder` with the code in `source`; return `ready`, or the error, by
    file."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "tests")])}
    command = [sys.executable, "-P", "-c", RENDER, str(folder), kind]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    results: dict[str, str] = json.loads(done.stdout)
    return results


def draw(folder: Path, before: dict[str, str], after: dict[str, str]) -> Image.Image:
    """Draw the sheet, one row for each case: the fault, the right image, before, after."""
    font = ImageFont.load_default(13)
    across = TEXT + 3 * (WIDTH + 8)
    sheet = Image.new("RGB", (across, 24 + len(CASES) * (HEIGHT + 8)), (245, 245, 245))
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(("right", "before", "after")):
        pen.text((TEXT + column * (WIDTH + 8), 4), name, (0, 0, 0), font)
    for row, case in enumerate(CASES):
        top = 24 + row * (HEIGHT + 8)
        pen.text((8, top + 34), case.fault, (0, 0, 0), font)
        place(sheet, (TEXT, top), case.right())
        for column, (kind, results) in enumerate(((".before", before), (".after", after)), 1):
            left = TEXT + column * (WIDTH + 8)
            result = results[f"{row:02}"]
            if result == "ready":
                place(sheet, (left, top), Image.open(folder / f"{row:02}{kind}" / "1600.jpg"))
            else:
                text = "\n".join(result.split(": ", 1)[0].split("_"))
                pen.text((left + 4, top + 20), f"failed:\n{text}", (160, 0, 0), font)
    return sheet


def place(sheet: Image.Image, at: tuple[int, int], image: Image.Image) -> None:
    """Draw an image in its cell, as large as it fits."""
    factor = min(WIDTH / image.width, HEIGHT / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    sheet.paste(image.convert("RGB").resize(size), at)


def main() -> None:
    """Draw the sheet."""
    with tempfile.TemporaryDirectory() as name:
        folder, old = Path(name, "images"), Path(name, "old")
        folder.mkdir()
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(old), BEFORE], check=True)
        try:
            for row, case in enumerate(CASES):
                (folder / f"{row:02}.in").write_bytes(case.make())
            before = rendered(folder, old / "src", ".before")
            after = rendered(folder, ROOT / "src", ".after")
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
        for row, case in enumerate(CASES):
            print(case.fault, "|", before[f"{row:02}"], "|", after[f"{row:02}"])
        draw(folder, before, after).save(SHEET, quality=80, optimize=True)


if __name__ == "__main__":
    main()
