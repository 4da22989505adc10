"""Files whose pixels are whole, though something else in them is wrong, as cameras, editors and
transfers leave them. Each function gives the flawed variants of an intact file, by name."""

import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from support import samples

Flawed = dict[str, bytes]
VIDEO = (
    struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp42" + struct.pack(">I4s", 8, b"mdat")
)


def photograph(width: int = 160, height: int = 120) -> Image.Image:
    """The corners, with grey noise in the middle: a row or block in a wrong place shows."""
    image = samples.corners(width, height)
    pixels = random.Random(3).randbytes(width * height // 4)
    image.paste(Image.frombytes("L", (width // 2, height // 2), pixels), (width // 4, height // 4))
    return image


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[samples.ORIENTATION] = orientation
    return tags.tobytes()


# --- JPEG ---


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def after_soi(content: bytes, inserted: bytes) -> bytes:
    return content[:2] + inserted + content[2:]


def jpegs(content: bytes) -> Flawed:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:me"
    frame = next(
        at for at in range(len(content)) if content[at : at + 2] in (b"\xff\xc0", b"\xff\xc2")
    )
    profile = b"ICC_PROFILE\0\1\2" + bytes(60)
    return {
        "garbage after the end": content + bytes(range(1, 200)) * 9,
        "zeros after the end": content + bytes(5000),
        "a video after the end": content + VIDEO + bytes(3000),
        "a second image after the end": content + samples.jpeg(),
        "a cut second image after the end": content + samples.jpeg()[:-300],
        "a trailer of a phone maker": content
        + b"\0\0\x30\x0aMotionPhoto_Data"
        + VIDEO
        + b"SEFH\1\0\0\0SEFT",
        "no last marker": content[:-2],
        "no last marker, then zeros": content[:-2] + bytes(1000),
        "garbage before the last marker": content[:-2] + bytes(range(1, 100)) + content[-2:],
        "garbage before the frame header": content[:frame] + bytes(40) + content[frame:],
        "two first markers": content[:2] + content,
        "XMP cut": after_soi(content, segment(0xE1, xmp)),
        "XMP of nothing": after_soi(content, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0")),
        "extended XMP without its rest": after_soi(
            content, segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 20)
        ),
        "EXIF cut": after_soi(content, segment(0xE1, exif()[:17])),
        "EXIF of garbage": after_soi(content, segment(0xE1, b"Exif\0\0" + bytes(range(255)))),
        "EXIF that points past its end": after_soi(
            content, segment(0xE1, b"Exif\0\0MM\0*\0\1\0\0" + bytes(9))
        ),
        "EXIF as of BigTIFF": after_soi(
            content, segment(0xE1, b"Exif\0\0II+\0\x08\0\0\0" + struct.pack("<Q", 16) + bytes(40))
        ),
        "EXIF of nothing": after_soi(content, segment(0xE1, b"Exif\0\0")),
        "half of a profile": after_soi(content, segment(0xE2, profile)),
        "a profile of garbage": after_soi(
            content, segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(range(256)))
        ),
        "IPTC cut": after_soi(
            content, segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\xff\xff\x1c")
        ),
        "an empty segment": after_soi(content, segment(0xE5, b"")),
        "a short JFIF header": after_soi(content, segment(0xE0, b"JF")),
        "a short Adobe header": after_soi(content, segment(0xEE, b"Ad")),
        "MPF cut": after_soi(content, segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff")),
        "a comment longer than its segment": after_soi(
            content, segment(0xFE, b"short") + b"and more of it"
        ),
        "fill bytes before markers": content[:frame] + b"\xff" * 9 + content[frame:],
        **_of_wrong_lengths(content, frame),
    }


def _of_wrong_lengths(content: bytes, frame: int) -> Flawed:
    def longer(marker: bytes, count: int) -> bytes:
        """With as many bytes more in the segment."""
        at = content.index(b"\xff" + marker)
        (length,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + length
        return (
            content[: at + 2]
            + struct.pack(">H", length + count)
            + content[at + 4 : end]
            + bytes(count)
            + content[end:]
        )

    def says(marker: bytes, difference: int) -> bytes:
        """With a length that is as far from the right one."""
        at = content.index(b"\xff" + marker)
        (length,) = struct.unpack_from(">H", content, at + 2)
        return content[: at + 2] + struct.pack(">H", length + difference) + content[at + 4 :]

    lines = segment(0xDC, content[frame + 5 : frame + 7])
    return {
        "Huffman tables with padding": longer(b"\xc4", 2),
        "Huffman tables that seem longer": says(b"\xc4", 2),
        "Huffman tables that seem shorter": says(b"\xc4", -2),
        "quantization tables with padding": longer(b"\xdb", 1),
        "a frame header with padding": longer(content[frame + 1 : frame + 2], 2),
        "a JFIF header that seems longer": says(b"\xe0", 3),
        "a JFIF header that seems shorter": says(b"\xe0", -3),
        "metadata cut behind their length": after_soi(content, b"\xff\xe1\xea\x60Exif\0\0II"),
        "metadata cut in their thumbnail": after_soi(
            content, b"\xff\xe1\xea\x60Exif\0\0" + samples.jpeg(32, 32)[:-40]
        ),
        "its number of lines behind the scan": content[: frame + 5]
        + bytes(2)
        + content[frame + 7 : -2]
        + lines
        + content[-2:],
    }


# --- PNG ---


def chunk(name: bytes, body: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pngs(content: bytes) -> Flawed:
    parts = list(chunks(content))
    data = b"".join(body for name, body in parts if name == b"IDAT")
    head = [part for part in parts if part[0] not in (b"IDAT", b"IEND")]
    after = content.index(b"IDAT") - 4
    end = content[-12:]

    def with_data(changed: bytes) -> bytes:
        return png_of([*head, (b"IDAT", changed), (b"IEND", b"")])

    def before_data(inserted: bytes) -> bytes:
        return content[:after] + inserted + content[after:]

    def after_data(inserted: bytes) -> bytes:
        return content[:-12] + inserted + end

    def wrong_crc(name: bytes) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            chunk(kind, body, 1 if kind == name else None) for kind, body in parts
        )

    profile = b"icc\0\0" + zlib.compress(bytes(200))
    return {
        "wrong CRC of IDAT": wrong_crc(b"IDAT"),
        "wrong CRC of IHDR": wrong_crc(b"IHDR"),
        "wrong CRC of IEND": wrong_crc(b"IEND"),
        "wrong CRC of every chunk": b"\x89PNG\r\n\x1a\n"
        + b"".join(chunk(*part, 7) for part in parts),
        "wrong adler32": with_data(data[:-4] + b"\1\2\3\4"),
        "no adler32": with_data(data[:-4]),
        "half an adler32": with_data(data[:-2]),
        "no adler32 and no IEND": png_of([*head, (b"IDAT", data)])[:-8],
        "IDAT longer than the image": with_data(data + b"more of it" * 9),
        "rows after the last": with_data(zlib.compress(zlib.decompress(data) + bytes(9000))),
        "empty IDATs": png_of(
            [*head, (b"IDAT", b""), (b"IDAT", data), (b"IDAT", b""), (b"IEND", b"")]
        ),
        "an IDAT of zlib's wrong window": with_data(bytes([0x18, 0x19]) + data[2:]),
        "no IEND": content[:-12],
        "IEND cut": content[:-5],
        "garbage after IEND": content + bytes(range(200)) * 9,
        "a second file after IEND": content + content,
        "XMP cut": before_data(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta")),
        "XMP of broken zlib": before_data(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0garbage")),
        "text without an end": before_data(chunk(b"tEXt", b"Comment")),
        "text with a wrong CRC": before_data(chunk(b"tEXt", b"Comment\0short", 5)),
        "compressed text of garbage": before_data(chunk(b"zTXt", b"Comment\0\0garbage")),
        "EXIF of garbage": before_data(chunk(b"eXIf", bytes(range(100)))),
        "EXIF of nothing": before_data(chunk(b"eXIf", b"")),
        "EXIF that points past its end": before_data(chunk(b"eXIf", b"MM\0*\0\1\0\0" + bytes(9))),
        "two of EXIF": before_data(chunk(b"eXIf", exif()[6:]) * 2),
        "a profile of garbage": before_data(chunk(b"iCCP", profile)),
        "a profile of broken zlib": before_data(chunk(b"iCCP", b"icc\0\0garbage")),
        "a profile with a wrong CRC": before_data(chunk(b"iCCP", profile, 3)),
        "two profiles": before_data(chunk(b"iCCP", profile) * 2),
        "a short gAMA": before_data(chunk(b"gAMA", b"\0")),
        "a gAMA of 0": before_data(chunk(b"gAMA", bytes(4))),
        "a long cHRM": before_data(chunk(b"cHRM", bytes(40))),
        "a short sBIT": before_data(chunk(b"sBIT", b"\x09")),
        "a time of nonsense": before_data(chunk(b"tIME", b"\xff" * 7)),
        "a name that is none": before_data(chunk(b"a\xfftX", b"?")),
        "a text chunk cut at the end": content[:-12]
        + chunk(b"tEXt", b"Comment\0" + b"text" * 50)[:-60],
        "a text chunk that claims gigabytes": after_data(
            struct.pack(">I", 0x7FFFFFFF) + b"tEXt" + b"Comment\0"
        ),
        "pHYs of nothing": before_data(chunk(b"pHYs", b"")),
        "tRNS too long": before_data(chunk(b"tRNS", b"\xff" * 300)),
    }


# --- WebP ---


def riff(*parts: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in parts
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def webp_parts(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 12
    while at + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, at + 4)
        chunks.append((content[at : at + 4], content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def webps(content: bytes, width: int = 160, height: int = 120) -> Flawed:
    parts = webp_parts(content)
    size = len(content) - 8

    def extended(
        flags: int, *more: tuple[bytes, bytes], wide: int = width, before: bool = False
    ) -> bytes:
        head = (
            bytes([flags, 0, 0, 0])
            + (wide - 1).to_bytes(3, "little")
            + (height - 1).to_bytes(3, "little")
        )
        rest = [part for part in parts if part[0] != b"VP8X"]
        return riff((b"VP8X", head), *(list(more) + rest if before else rest + list(more)))

    def with_size(size: int) -> bytes:
        return content[:4] + struct.pack("<I", size) + content[8:]

    variants = {
        "RIFF too large by 1": with_size(size + 1),
        "RIFF too large by 2": with_size(size + 2),
        "RIFF too large by thousands": with_size(size + 4000),
        "RIFF of four gigabytes": with_size(0xFFFFFFFE),
        "RIFF of all ones": with_size(0xFFFFFFFF),
        "RIFF of 0": with_size(0),
        "RIFF too small": with_size(size - 100),
        "RIFF that counts itself": with_size(size + 8),
        "garbage after the end": content + bytes(range(200)) * 9,
        "a chunk after the end": content + b"EXIF\x04\0\0\0abcd",
        "XMP cut": extended(4, (b"XMP ", b"<x:xmpmeta")),
        "XMP longer than the file": extended(4) + b"XMP \xff\xff\0\0<x:xmp",
        "XMP cut off by the end": extended(4, (b"XMP ", b"<x:xmpmeta>" * 40))[:-100],
        "EXIF of garbage": extended(8, (b"EXIF", bytes(range(100)))),
        "EXIF cut off by the end": extended(8, (b"EXIF", exif() + bytes(100)))[:-70],
        "EXIF that is told and not there": extended(8),
        "EXIF that is there and not told": extended(0, (b"EXIF", exif())),
        "a profile of garbage": extended(32, (b"ICCP", bytes(200)), before=True),
        "a profile that is told and not there": extended(32),
        "a profile in the wrong place": extended(32, (b"ICCP", bytes(200))),
        "an unknown chunk before": extended(0, (b"ABCD", b"12345"), before=True),
        "an unknown chunk after": extended(0, (b"ABCD", b"12345")),
        "a first size of the canvas that is not the image's": extended(0, wide=width + 3),
        "alpha that is told and not there": extended(16),
        "reserved bits": extended(0xC1),
    }
    if len(content) % 2 == 0 and len(parts[-1][1]) % 2:
        variants["the last pad byte missing"] = content[:-1]
        variants["the last pad byte missing and not counted"] = with_size(size - 1)[:-1]
    return variants


# --- GIF ---


def gifs(content: bytes) -> Flawed:
    assert content[-1:] == b";"
    table = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    second = b"\x2c" + struct.pack("<HHHHB", 0, 0, 160, 120, 0) + b"\x08\xff" + bytes(range(100))

    def after_table(inserted: bytes) -> bytes:
        return content[:table] + inserted + content[table:]

    return {
        "no trailer": content[:-1],
        "garbage after the trailer": content + bytes(range(200)),
        "a text after the trailer": content + b"<script>" * 40,
        "zeros instead of a trailer": content[:-1] + bytes(100),
        "garbage instead of a trailer": content[:-1] + bytes(range(1, 44)) * 3,
        "a second frame cut": content[:-1] + second,
        "a second frame's header cut": content[:-1] + second[:6],
        "a second frame of garbage": content[:-1] + b"\x2c" + b"\xff" * 9 + b"\x02\x04abcd\0;",
        "a second frame of a bad code size": content[:-1] + second[:10] + b"\x0f\1\0\0;",
        "a comment cut": content[:-1] + b"!\xfe\xffcut",
        "a comment before the frame": after_table(b"!\xfe\x05hello\0"),
        "an unknown extension": after_table(b"!\x77\x03abc\0"),
        "XMP in pieces": after_table(b"!\xff\x0bXMP DataXMP\x10<x:xmpmeta xmlns\0"),
        "a loop extension without its count": after_table(b"!\xff\x0bNETSCAPE2.0\0"),
        "a graphic control of two bytes": after_table(b"!\xf9\x02\0\0\0"),
    }


# --- BMP ---


def bmps(content: bytes) -> Flawed:
    (at,) = struct.unpack_from("<I", content, 10)

    def put(place: int, layout: str, value: int) -> bytes:
        changed = bytearray(content)
        struct.pack_into(layout, changed, place, value)
        return bytes(changed)

    return {
        "a file size of 0": put(2, "<I", 0),
        "a file size too large": put(2, "<I", len(content) + 999),
        "a file size too small": put(2, "<I", 60),
        "an image size of 0": put(34, "<I", 0),
        "an image size too large": put(34, "<I", 0xFFFFFFF0),
        "no place of the pixels": put(10, "<I", 0),
        "a place of the pixels in the header": put(10, "<I", 26),
        "a place of the pixels past the end": put(10, "<I", len(content) + 5),
        "no planes": put(26, "<H", 0),
        "a resolution of nonsense": put(38, "<I", 0xFFFFFFFF),
        "garbage after the pixels": content + bytes(range(100)),
        "more colours than its bits can name": put(46, "<I", 0xFFFF),
        "the padding of the last row missing": content[:-2],
        "padding before the pixels": put(10, "<I", at + 8)[:at] + bytes(8) + content[at:],
    }
