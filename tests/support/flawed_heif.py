"""HEIC and AVIF whose pixels are whole, though something else in them is wrong or unusual."""

import struct
from dataclasses import replace

from support.flawed import VIDEO, Flawed, exif
from support.heif import Heif, Item, box, full, ispe, taken_apart

BRANDS = {b"hvc1": b"heic", b"av01": b"avif"}


def auxiliary(item: Item, urn: bytes) -> Item:
    return replace(
        item,
        properties=(*item.properties, full(b"auxC", urn + b"\0")),
        refers=((b"auxl", (1,)),),
    )


def sized(content: bytes, kind: bytes, width: int, height: int) -> bytes:
    """With another size in `ispe` than its pixels have."""
    item = taken_apart(content, kind)
    others = tuple(prop for prop in item.properties if prop[4:8] != b"ispe")
    item = replace(item, properties=(ispe(width, height), *others))
    return Heif((item,), brand=BRANDS[kind]).encoded()


def heifs(content: bytes, kind: bytes) -> Flawed:
    """`kind` is the type of its one coded item."""
    item = taken_apart(content, kind)
    plain = Heif((item,), brand=BRANDS[kind])
    depth = auxiliary(item, b"urn:mpeg:hevc:2015:auxid:2")
    depths = [auxiliary(item, b"urn:com:phone:depth:%d" % number) for number in range(150)]

    def described(kind: bytes, data: bytes, extra: bytes = b"") -> Item:
        return Item(kind, data, refers=((b"cdsc", (1,)),), extra=extra)

    def having(*properties: bytes) -> Heif:
        return replace(plain, items=(replace(item, properties=(*item.properties, *properties)),))

    xmp = b"application/rdf+xml\0"
    files = {
        "nothing wrong": plain,
        "1,500 items of metadata": plain.with_items(
            *[described(b"mime", b"%04d" % n, xmp) for n in range(1500)]
        ),
        "1,500 thumbnails": plain.with_items(*[replace(item, refers=((b"thmb", (1,)),))] * 1500),
        "150 auxiliary images": plain.with_items(*depths),
        "one auxiliary image of 150": plain.with_items(
            replace(item, refers=((b"auxl", (1,)),)), *[depth] * 150
        ),
        "1,500 images of a burst": plain.with_items(*[item] * 1500),
        "200 properties": having(*[box(b"free", b"%04d" % n) for n in range(200)]),
        "200 properties of an unknown kind": having(
            *[box(b"abcd", b"%04d" % n) for n in range(200)]
        ),
        "XMP past the end": replace(
            plain.with_items(described(b"mime", b"<x:xmpmeta>", xmp)), beyond=(2,)
        ),
        "XMP of nothing": plain.with_items(described(b"mime", b"", xmp)),
        "XMP cut": plain.with_items(described(b"mime", b"<x:xmpmeta>", xmp)),
        "EXIF past the end": replace(
            plain.with_items(described(b"Exif", bytes(4) + exif())), beyond=(2,)
        ),
        "EXIF of garbage": plain.with_items(described(b"Exif", bytes(range(200)))),
        "EXIF of nothing": plain.with_items(described(b"Exif", b"")),
        "a thumbnail past the end": replace(
            plain.with_items(replace(item, data=b"-", refers=((b"thmb", (1,)),))), beyond=(2,)
        ),
        "a thumbnail of garbage": plain.with_items(
            replace(item, data=b"garbage", refers=((b"thmb", (1,)),))
        ),
        "an auxiliary image of garbage": plain.with_items(replace(depth, data=b"garbage")),
        "a profile of garbage": having(box(b"colr", b"prof", bytes(range(200)))),
        "a profile of nothing": having(box(b"colr", b"prof")),
        "an unknown property": having(box(b"abcd", b"1234")),
        "a reference to nothing": plain.with_items(
            Item(b"mime", b"x", refers=((b"cdsc", (999,)),), extra=xmp)
        ),
        "a group of 2,000": replace(
            plain,
            more_meta=box(b"grpl", full(b"altr", struct.pack(">2002I", 9, 2000, *range(1, 2001)))),
        ),
        "200 groups": replace(
            plain,
            more_meta=box(
                b"grpl", *[full(b"altr", struct.pack(">III", 900 + n, 1, 1)) for n in range(200)]
            ),
        ),
        "unknown boxes": replace(
            plain,
            before_meta=box(b"free", bytes(99)) + box(b"uuid", bytes(40)),
            after=box(b"abcd", b"1"),
        ),
        "300 unknown boxes": replace(
            plain, before_meta=box(b"free", b"1") * 300, after=box(b"uuid", bytes(16)) * 300
        ),
        "300 unknown boxes in meta": replace(plain, more_meta=box(b"free", b"1") * 300),
        "data to the end of the file": replace(
            plain, data_box=lambda data: bytes(4) + b"mdat" + data
        ),
        "data of a 64-bit size": replace(
            plain, data_box=lambda data: struct.pack(">I4sQ", 1, b"mdat", 16 + len(data)) + data
        ),
        "data box longer than the file": replace(
            plain, data_box=lambda data: struct.pack(">I4s", 99_999, b"mdat") + data
        ),
        "data before the boxes": replace(plain, data_first=True),
        "a video at the end": replace(plain, after=box(b"mpvd", VIDEO + bytes(2000))),
        "garbage at the end": replace(plain, after=bytes(range(1, 200)) * 9),
        "zeros at the end": replace(plain, after=bytes(4000)),
        "a box cut at the end": replace(plain, after=box(b"uuid", bytes(400))[:-30]),
        "a film beside it": replace(
            plain, after=box(b"moov", full(b"mvhd", bytes(96)), box(b"trak", b"broken"))
        ),
    }
    return {name: file.encoded() for name, file in files.items()}
