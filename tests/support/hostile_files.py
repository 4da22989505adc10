"""Files of some megabytes whose headers would keep a careless reader busy for hours."""

import struct
import zlib
from collections.abc import Callable

from support import flawed, samples
from support.heif import box, full

_MANY = 60_000


def _heif(
    references: bytes, associations: bytes, properties: bytes, locations: bytes = b""
) -> bytes:
    """A grid, item 1, that is made of item 2."""
    entries = [
        full(b"infe", struct.pack(">HH4sx", item, 0, kind), version=2)
        for item, kind in ((1, b"grid"), (2, b"hvc1"))
    ]
    places = struct.pack(">HHHII", 1, 0, 1, 60, 8) + struct.pack(">HHHII", 2, 0, 1, 60, 8)
    return box(b"ftyp", b"heic", bytes(4), b"mif1", b"heic") + full(
        b"meta",
        full(b"hdlr", bytes(4), b"pict", bytes(13)),
        full(b"pitm", b"\0\1"),
        full(b"iloc", locations or b"\x44\0\0\2" + places),
        full(b"iinf", b"\0\2", *entries),
        full(b"iref", references),
        box(b"iprp", box(b"ipco", properties), associations),
    )


def _references(count: int) -> bytes:
    return box(b"dimg", struct.pack(f">HH{count}H", 1, count, *[2] * count))


def _associations(item: int, count: int) -> bytes:
    lines = (struct.pack(">HB", item, 255) + b"\1" * 254 + b"\2") * count
    return full(b"ipma", struct.pack(">I", count), lines)


def tiles_of_many_properties() -> bytes:
    """Some 240,000 references to one tile, which has as many properties, none of them its size."""
    return _heif(
        _references(_MANY) * 4, _associations(2, 1000), box(b"free") + box(b"hvcC", bytes(23))
    )


def extents_of_no_bytes() -> bytes:
    """Each entry claims 65,535 extents, whose numbers have a width of 0."""
    entries = b"".join(struct.pack(">HHH", item, 0, 65_535) for item in range(1, 65_001))
    locations = struct.pack(">HH", 0, 65_000) + entries
    return _heif(_references(1), _associations(2, 1), box(b"free"), locations)


def items_that_share_one_long_property() -> bytes:
    """Each of thousands of tiles has the same configuration, of a megabyte."""
    items = range(2, _MANY)
    kinds = [full(b"infe", struct.pack(">HH4sx", item, 0, b"hvc1"), version=2) for item in items]
    grid = full(b"infe", struct.pack(">HH4sx", 1, 0, b"grid"), version=2)
    lines = b"".join(struct.pack(">HBB", item, 1, 1) for item in items)
    reference = struct.pack(f">HH{len(items)}H", 1, len(items), *items)
    return box(b"ftyp", b"heic", bytes(4), b"mif1", b"heic") + full(
        b"meta",
        full(b"pitm", b"\0\1"),
        full(b"iinf", struct.pack(">H", len(items) + 1), grid, *kinds),
        full(b"iref", box(b"dimg", reference)),
        full(b"iloc", b"\x44\0\0\1", struct.pack(">HHHII", 1, 0, 1, 60, 8)),
        box(
            b"iprp",
            box(b"ipco", box(b"hvcC", bytes(1_000_000))),
            full(b"ipma", struct.pack(">I", len(items)), lines),
        ),
    )


def jpeg_of_markers() -> bytes:
    """Metadata of nothing but markers, behind a length that leads nowhere."""
    markers = b"\xff\xe1\0\4" * 16_000
    return b"\xff\xd8" + (b"\xff\xe1\xff\xf0" + markers) * 40


def jpeg_of_chains() -> bytes:
    """A JPEG whose metadata has a wrong length and a thousand markers, which lead to a small frame.
    The last marker leads to a larger frame, behind which the pattern repeats."""

    def segment(marker: int, body: bytes = b"") -> bytes:
        return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body

    def frame(side: int, more: bytes = b"") -> bytes:
        return segment(0xC0, struct.pack(">BHHB", 8, side, side, 0) + more)

    end = segment(0xDB) + segment(0xDA)
    small = frame(100) + end
    over = struct.pack(">BBH", 0xFF, 0xE3, 2 + len(end + small))  # for who heeds the body only
    large = frame(200, over) + end
    jump = segment(0xE2, large)
    group = b"\xff\xe1\xff\xf0" + segment(0xE2) * 990 + jump + small
    return b"\xff\xd8" + group * 500 + bytes(70_000)


def png_that_inflates_without_end() -> bytes:
    """Zeros of 200 MB where a hundred pixels should be, with a wrong checksum."""
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    parts = list(flawed.chunks(samples.encoded(samples.corners(10, 10), "PNG")))
    head = flawed.chunk(*parts[0])
    return b"\x89PNG\r\n\x1a\n" + head + flawed.chunk(b"IDAT", data, 1) + flawed.chunk(b"IEND", b"")


HOSTILE_FILES: dict[str, Callable[[], bytes]] = {
    "tiles of many properties": tiles_of_many_properties,
    "extents of no bytes": extents_of_no_bytes,
    "items that share one long property": items_that_share_one_long_property,
    "JPEG of markers": jpeg_of_markers,
    "JPEG of chains": jpeg_of_chains,
    "PNG that inflates without end": png_that_inflates_without_end,
}
