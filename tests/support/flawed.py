"""Files whose pixels are whole, though something else in them is wrong: as cameras, editors, messengers
and half transfers leave them. Each maker takes an intact file and gives the flawed ones by name."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

from dataclasses import replace

from PIL import Image

from support import samples
from support.heif import Heif, Item, box, full, ispe, taken_apart

Flawed = dict[str, bytes]
_VIDEO = (
    struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp42" + struct.pack(">I", 8) + b"mdat"
)


def photograph(width: int = 320, height: int = 240) -> Image.Image:
    """The corners, with noise in the middle: a row or block in the wrong place shows."""
    image = samples.corners(width, height)
    pixels = random.Random(3).randbytes(width * height * 3 // 4)
    noise = Image.frombytes("RGB", (width // 2, height // 2), pixels)
    image.paste(noise, (width // 4, height // 4))
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
        "a video after the end": content + _VIDEO + bytes(3000),
        "a second image after the end": content + samples.jpeg(),
        "a cut second image after the end": content + samples.jpeg()[:-300],
        "a trailer of a phone maker": content
        + b"\0\0\x30\x0aMotionPhoto_Data"
        + _VIDEO
        + b"SEFH\1\0\0\0SEFT",
        "no last marker": content[:-2],
        "no last marker, then zeros": content[:-2] + bytes(1000),
        "no last marker, then text": content[:-2] + b"this is text" * 30,
        "no last marker, then a video": content[:-2] + _VIDEO + bytes(300),
        "garbage before the last marker": content[:-2] + bytes(range(1, 100)) + content[-2:],
        "garbage after the first marker": after_soi(content, bytes(range(1, 100))),
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
    }


# --- PNG ---


def chunk(name: bytes, body: bytes, crc: int | None = None) -> bytes:
    told = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", told)


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
        "tRNS too long": before_data(chunk(b"tRNS", bytes(9))),
    }


# --- WebP ---


def riff(*parts: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in parts
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def webp_parts(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, at + 4)
        found.append((content[at : at + 4], content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def webps(content: bytes, width: int = 320, height: int = 240) -> Flawed:
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

    def told(size: int) -> bytes:
        return content[:4] + struct.pack("<I", size) + content[8:]

    found = {
        "RIFF too large by 1": told(size + 1),
        "RIFF too large by 2": told(size + 2),
        "RIFF too large by thousands": told(size + 4000),
        "RIFF of four gigabytes": told(0xFFFFFFFE),
        "RIFF of all ones": told(0xFFFFFFFF),
        "RIFF of 0": told(0),
        "RIFF too small": told(size - 100),
        "RIFF that counts itself": told(size + 8),
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
        found["the last pad byte missing"] = content[:-1]
        found["the last pad byte missing and not counted"] = told(size - 1)[:-1]
    return found


# --- GIF ---


def gifs(content: bytes) -> Flawed:
    assert content[-1:] == b";"
    table = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    second = b"\x2c" + struct.pack("<HHHHB", 0, 0, 320, 240, 0) + b"\x08\xff" + bytes(range(100))

    def after_table(inserted: bytes) -> bytes:
        return content[:table] + inserted + content[table:]

    return {
        "no trailer": content[:-1],
        "no trailer and no last terminator": content[:-2],
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
        "many colours that are not there": put(46, "<I", 0xFFFF),
        "a resolution of nonsense": put(38, "<I", 0xFFFFFFFF),
        "garbage after the pixels": content + bytes(range(100)),
        "padding before the pixels": put(10, "<I", at + 8)[:at] + bytes(8) + content[at:],
    }


# --- HEIC and AVIF ---


def auxiliary(item: Item, urn: bytes) -> Item:
    return replace(
        item,
        properties=(*item.properties, full(b"auxC", urn + b"\0")),
        refers=((b"auxl", (1,)),),
    )


def heifs(content: bytes, kind: bytes) -> Flawed:
    """`kind` is the type of its one coded item."""
    item = taken_apart(content, kind)
    plain = Heif((item,), brand={b"hvc1": b"heic", b"av01": b"avif"}[kind])
    depth = auxiliary(item, b"urn:mpeg:hevc:2015:auxid:2")
    (width, height) = next(
        struct.unpack(">II", one[12:]) for one in item.properties if one[4:8] == b"ispe"
    )

    def sized(wide: int, high: int) -> Heif:
        changed = [ispe(wide, high) if one[4:8] == b"ispe" else one for one in item.properties]
        return replace(plain, items=(replace(item, properties=tuple(changed)),))

    def described(kind: bytes, data: bytes, extra: bytes = b"") -> Item:
        return Item(kind, data, refers=((b"cdsc", (1,)),), extra=extra)

    def having(*properties: bytes) -> Heif:
        return replace(plain, items=(replace(item, properties=(*item.properties, *properties)),))

    xmp = b"application/rdf+xml\0"
    made = {
        "nothing wrong": plain,
        "1,500 items of metadata": plain.with_items(*[described(b"mime", b"%04d" % n, xmp) for n in range(1500)]),
        "1,500 thumbnails": plain.with_items(*[replace(item, refers=((b"thmb", (1,)),))] * 1500),
        "150 auxiliary images": plain.with_items(*[depth] * 150),
        "one auxiliary image of 150": plain.with_items(replace(item, refers=((b"auxl", (1,)),)), *[depth] * 150),
        "1,500 images of a burst": plain.with_items(*[item] * 1500),
        "200 properties": having(*[box(b"free", b"%04d" % n) for n in range(200)]),
        "200 properties of an unknown kind": having(*[box(b"abcd", b"%04d" % n) for n in range(200)]),
        "ispe larger by 1": sized(width + 1, height + 1),
        "ispe larger by 8": sized(width + 8, height + 8),
        "ispe smaller by 1": sized(width - 1, height - 1),
        "ispe smaller by 8": sized(width - 8, height - 8),
        "XMP past the end": replace(plain.with_items(described(b"mime", b"<x:xmpmeta>", xmp)), beyond=(2,)),
        "XMP of nothing": plain.with_items(described(b"mime", b"", xmp)),
        "XMP cut": plain.with_items(described(b"mime", b"<x:xmpmeta>", xmp)),
        "EXIF past the end": replace(plain.with_items(described(b"Exif", bytes(4) + exif())), beyond=(2,)),
        "EXIF of garbage": plain.with_items(described(b"Exif", bytes(range(200)))),
        "EXIF of nothing": plain.with_items(described(b"Exif", b"")),
        "a thumbnail past the end": replace(plain.with_items(replace(item, data=b"-", refers=((b"thmb", (1,)),))), beyond=(2,)),
        "a thumbnail of garbage": plain.with_items(replace(item, data=b"garbage", refers=((b"thmb", (1,)),))),
        "an auxiliary image of garbage": plain.with_items(replace(depth, data=b"garbage")),
        "a profile of garbage": having(box(b"colr", b"prof", bytes(range(200)))),
        "a profile of nothing": having(box(b"colr", b"prof")),
        "an unknown property": having(box(b"abcd", b"1234")),
        "a reference to nothing": plain.with_items(Item(b"mime", b"x", refers=((b"cdsc", (999,)),), extra=xmp)),
        "a group of 2,000": replace(plain, more_meta=box(b"grpl", full(b"altr", struct.pack(">2002I", 9, 2000, *range(1, 2001))))),
        "200 groups": replace(plain, more_meta=box(b"grpl", *[full(b"altr", struct.pack(">III", 900 + n, 1, 1)) for n in range(200)])),
        "unknown boxes": replace(plain, before_meta=box(b"free", bytes(99)) + box(b"uuid", bytes(40)), after=box(b"abcd", b"1")),
        "300 unknown boxes": replace(plain, before_meta=box(b"free", b"1") * 300, after=box(b"uuid", bytes(16)) * 300),
        "300 unknown boxes in meta": replace(plain, more_meta=box(b"free", b"1") * 300),
        "data to the end of the file": replace(plain, data_box=lambda data: bytes(4) + b"mdat" + data),
        "data of a 64-bit size": replace(plain, data_box=lambda data: struct.pack(">I4sQ", 1, b"mdat", 16 + len(data)) + data),
        "data box longer than the file": replace(plain, data_box=lambda data: struct.pack(">I4s", 99_999, b"mdat") + data),
        "data before the boxes": replace(plain, data_first=True),
        "a video at the end": replace(plain, after=box(b"mpvd", _VIDEO + bytes(2000))),
        "garbage at the end": replace(plain, after=bytes(range(1, 200)) * 9),
        "zeros at the end": replace(plain, after=bytes(4000)),
        "a box cut at the end": replace(plain, after=box(b"uuid", bytes(400))[:-30]),
        "a film beside it": replace(plain, after=box(b"moov", full(b"mvhd", bytes(96)), box(b"trak", b"broken"))),
    }  # fmt: skip
    return {name: file.encoded() for name, file in made.items()}
