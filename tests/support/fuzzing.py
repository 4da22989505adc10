"""Rules for any bytes that Python reads as an image's header: a result, or one of the two intended
errors. The first byte chooses the reader of the rest."""

from collections.abc import Callable
from contextlib import suppress

import pyvips

from image_poster.adapters.images.bmp import read_layout
from image_poster.adapters.images.colour import ICC, to_working_size
from image_poster.adapters.images.decoders import read_facts, rebuild
from image_poster.adapters.images.header import BadHeaderError, HeaderFacts
from image_poster.adapters.images.heif import orientation_of
from image_poster.domain.images import SNIFF_BYTES, ImageFormat, ImageRejectedError, sniff


def sniffing(content: bytes) -> None:
    """As a file whose format its first bytes tell."""
    kind = sniff(content[:SNIFF_BYTES])
    if kind is not None:
        headers(kind, content)


def headers(kind: ImageFormat, content: bytes) -> None:
    """As a file of this format, whatever it begins with."""
    try:
        facts = read_facts(kind, content)
    except ImageRejectedError as exc:
        assert exc.code == "image_unsupported"
        return
    with suppress(BadHeaderError, ImageRejectedError):
        rebuilt = rebuild(kind, content)
        if sniff(content[:SNIFF_BYTES]) is kind:
            assert sniff(rebuilt[:SNIFF_BYTES]) in (kind, ImageFormat.HEIC, ImageFormat.AVIF)
        assert isinstance(read_facts(kind, rebuilt), HeaderFacts)
    assert facts.exif_orientation in range(1, 9)
    assert facts.samples >= 0
    assert facts.scans >= 1
    if facts.coding is not None:
        assert facts.coding.planes_bytes >= 1
        assert facts.coding.coded_pixels >= 0


def exif(content: bytes) -> None:
    """As the EXIF of a HEIC or AVIF."""
    with suppress(BadHeaderError):
        assert orientation_of(content) in range(1, 9)


def bitmap(content: bytes) -> None:
    """As the layout of a BMP."""
    try:
        layout = read_layout(content)
    except BadHeaderError:
        return
    assert layout is None or (layout.width > 0 and layout.height > 0)


def profile(content: bytes) -> None:
    """As the ICC profile of an image: it is shown with it or without."""
    grey = pyvips.Image.black(8, 8, bands=3) + 128
    image = grey.cast("uchar").copy(interpretation="srgb")
    if content:
        image.set_type(pyvips.GValue.blob_type, ICC, content)
    try:
        shown = to_working_size(image).image.copy_memory()
    except ImageRejectedError:
        return
    assert (shown.width, shown.height) == (8, 8)


def _of(kind: ImageFormat) -> Callable[[bytes], None]:
    return lambda content: headers(kind, content)


_TARGETS: list[Callable[[bytes], None]] = [
    sniffing,
    *(_of(kind) for kind in ImageFormat),
    exif,
    bitmap,
    profile,
]


def check(content: bytes) -> None:
    """Raises whatever is not meant to be raised."""
    if content:
        _TARGETS[content[0] % len(_TARGETS)](content[1:])


def targets() -> dict[str, int]:
    """The first byte by what it stands for."""
    names = [
        "sniffing",
        *(kind.name.lower() for kind in ImageFormat),
        "exif",
        "bitmap",
        "profile",
    ]
    return {name: at for at, name in enumerate(names)}
