"""Formats are told by their first bytes, and by more of them than fit into a text by chance."""

import pytest

from image_poster.domain.images import ImageFormat, sniff
from support import samples

GIF_SCREEN = b"\x01\x00\x01\x00\x80\x00\x00\x2c"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", ImageFormat.JPEG),
        (b"\xff\xd8\xff\xdb", ImageFormat.JPEG),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ImageFormat.PNG),
        (b"GIF87a" + GIF_SCREEN, ImageFormat.GIF),
        (b"GIF89a" + GIF_SCREEN, ImageFormat.GIF),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", ImageFormat.WEBP),
        (b"RIFF\x00\x00\x00\x00WEBPVP8L", ImageFormat.WEBP),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X", ImageFormat.WEBP),
        (b"BM" + bytes(12) + b"\x28\x00\x00\x00", ImageFormat.BMP),
        (b"BM" + bytes(12) + b"\x7c\x00\x00\x00", ImageFormat.BMP),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", ImageFormat.HEIC),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1miafheic", ImageFormat.HEIC),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1miafavif", ImageFormat.AVIF),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00mif1miafavif", ImageFormat.AVIF),
        (
            b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00mif1avif",
            ImageFormat.HEIC,
        ),  # till its boxes tell
        (b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00isomheic", None),  # heic lies behind the box
        (b"\x00\x00\x00\x18ftypheiX\x00\x00heicmif1isom", None),  # there it is the minor version
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00mp42", None),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
        (b"", None),
    ],
)
def test_formats_are_told_by_their_first_bytes(head: bytes, expected: ImageFormat | None) -> None:
    assert sniff(head) == sniff(bytearray(head)) == expected


@pytest.mark.parametrize(
    "content",
    [
        samples.svg_disguised_as(b"ftypavif         "),
        samples.svg_disguised_as(b"ftypheic\x00\x00\x00\x00mif1"),
        b"    ftypavif    avif",  # a size of half a gigabyte
        b"\x00\x00\x00\x0cftypavif\x00\x00\x00\x00",  # no room for a brand and its version
        b"\x00\x00\x00\x19ftypavif\x00\x00\x00\x00mif1avif",  # a brand has four bytes
        b"\x00\x00\x00\x00ftypavif\x00\x00\x00\x00mif1avif",  # to the end of the file
        b"\x00\x00\x00\x01ftypavif\x00\x00\x00\x00mif1avif",  # a size of 64 bits follows
        b"BM<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BMW is a car, and no bitmap.",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF<!--WEBP--><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_a_signature_in_a_text_is_no_format(content: bytes) -> None:
    assert sniff(content) is None
