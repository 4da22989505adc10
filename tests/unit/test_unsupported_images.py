"""Real, intact files of kinds that no decoder here shows: called by their names, not damaged."""

import io
import struct
from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from image_poster.domain.images import ImageRejectedError
from support import samples
from support.rendered import render


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def categories(values: list[int], first: int) -> Iterator[str]:
    """Differences: a Huffman code of five bits for their size, then their bits (T.81, F.1.2.1)."""
    before = first
    for value in values:
        size = abs(value - before).bit_length()
        difference = value - before if value >= before else value - before + (1 << size) - 1
        yield f"{size:05b}" + (f"{difference:0{size}b}" if size else "")
        before = value


def packed(bits: str) -> bytes:
    whole = bits + "1" * (-len(bits) % 8)
    content = bytes(int(whole[at : at + 8], 2) for at in range(0, len(whole), 8))
    return content.replace(b"\xff", b"\xff\0")


def huffman_table(kind: int, symbols: bytes) -> bytes:
    """All symbols by codes of five bits."""
    return segment(0xC4, bytes([kind]) + bytes([0, 0, 0, 0, len(symbols), *[0] * 11]) + symbols)


def lossless_jpeg() -> bytes:
    """Grey, by the sample to the left (T.81, annex H); one row, so that no other rule applies."""
    row = [20, 60, 200, 201, 90, 90, 17, 255]
    frame = segment(0xC3, struct.pack(">BHHB", 8, 1, len(row), 1) + b"\1\x11\0")
    scan = segment(0xDA, b"\1\1\0" + b"\1\0\0")
    bits = "".join(categories(row, 128))
    return (
        b"\xff\xd8" + frame + huffman_table(0, bytes(range(17))) + scan + packed(bits) + b"\xff\xd9"
    )


def twelve_bit_jpeg() -> bytes:
    """Two blocks of grey, 12 bits a sample (T.81, extended sequential)."""
    tables = segment(0xDB, b"\0" + bytes([1] * 64))
    frame = segment(0xC1, struct.pack(">BHHB", 12, 8, 16, 1) + b"\1\x11\0")
    codes = huffman_table(0, bytes(range(16))) + huffman_table(0x10, b"\0")
    scan = segment(0xDA, b"\1\1\0" + b"\0\x3f\0")
    end_of_block = "00000"
    bits = "".join(code + end_of_block for code in categories([900, -400], 0))
    return b"\xff\xd8" + tables + frame + codes + scan + packed(bits) + b"\xff\xd9"


def bmp_of(kind: str, compression: int) -> bytes:
    """As for printers: a BMP that holds another file (BITMAPINFOHEADER, BI_JPEG and BI_PNG)."""
    content = samples.encoded(samples.corners(), kind)
    header = struct.pack("<IiiHHIIiiII", 40, 120, 80, 1, 0, compression, len(content), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(content), 0, 0, 54) + header + content


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def heif_of(item: bytes, coded: bytes) -> bytes:
    """HEIF whose one item is coded so (23008-12, annexes H and J; 15444-16)."""
    start = box(b"ftyp", b"mif1", bytes(4), b"mif1", b"miaf")

    def meta(at: int) -> bytes:
        place = struct.pack(">II", at, len(coded))
        size = struct.pack(">II", 120, 80)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), b"\0\1"),
            box(b"iloc", bytes(4), b"\x44\0\0\1\0\1\0\0\0\1", place),
            box(b"iinf", bytes(4), b"\0\1", box(b"infe", b"\2\0\0\0\0\1\0\0", item, b"\0")),
            box(
                b"iprp",
                box(b"ipco", box(b"ispe", bytes(4), size)),
                box(b"ipma", bytes(4), b"\0\0\0\1\0\1\1\1"),
            ),
        )

    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", coded)


def jpeg_2000() -> bytes:
    buffer = io.BytesIO()
    samples.corners().save(buffer, "JPEG2000", no_jp2=True)
    return buffer.getvalue()


INTACT: dict[str, tuple[Callable[[], bytes], str]] = {
    "lossless JPEG": (lossless_jpeg, "lossless JPEG"),
    "JPEG of 12 bits": (twelve_bit_jpeg, "12 bits"),
    "BMP of a JPEG": (lambda: bmp_of("JPEG", 4), "holds a JPEG"),
    "BMP of a PNG": (lambda: bmp_of("PNG", 5), "holds a PNG"),
    "HEIF of a JPEG": (lambda: heif_of(b"jpeg", samples.jpeg()), "JPEG"),
    "HEIF of a JPEG 2000": (lambda: heif_of(b"j2k1", jpeg_2000()), "JPEG 2000"),
    "HEIF of bare pixels": (lambda: heif_of(b"unci", samples.corners().tobytes()), "uncompressed"),
}


@pytest.mark.parametrize("kind", INTACT)
def test_an_intact_file_of_a_kind_that_is_not_shown_is_called_by_its_name(kind: str) -> None:
    make, named = INTACT[kind]
    with pytest.raises(ImageRejectedError) as refused:
        render(make())
    assert refused.value.code == "image_unsupported"
    assert named in refused.value.detail
    assert "damaged" not in refused.value.detail
    assert "again" not in refused.value.detail


def test_what_the_wrapped_files_hold_is_intact() -> None:
    assert Image.open(io.BytesIO(jpeg_2000())).size == (120, 80)
    for kind, compression in (("JPEG", 4), ("PNG", 5)):
        assert Image.open(io.BytesIO(bmp_of(kind, compression)[54:])).size == (120, 80)
