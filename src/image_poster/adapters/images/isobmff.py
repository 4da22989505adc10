"""The boxes of ISO/IEC 14496-12, and in them the items of a HEIF file (ISO/IEC 23008-12): a reader
and a writer."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from image_poster.adapters.images.header import BadHeaderError, Content, unpack, unsupported

# A box has 8 bytes or more: what a `meta` box of 4 MB can have.
_MAX_BOXES = 500_000
_MAX_META_BYTES = 4_000_000


class Box(NamedTuple):
    """A box: its type, and the start and end of its content."""

    kind: str
    start: int
    end: int


def boxes(content: Content, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes one after the other (14496-12, 4.2). Raises `BadHeaderError`."""
    at = start
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        size, head = unpack(">I", content, at)[0], 8
        kind = content[at + 4 : at + 8].decode("latin-1")
        if size == 1:
            size, head = unpack(">Q", content, at + 8)[0], 16
        size = size or end - at
        if size < head:
            raise BadHeaderError("a box smaller than its own header")
        yield Box(kind, at + head, min(at + size, end))
        at += size


class _Reader:
    """A reader of consecutive numbers."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self._content, self._at = content, at

    def unpack(self, layout: str) -> tuple[int, ...]:
        """Read numbers by a layout of `struct`."""
        numbers = unpack(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return numbers

    def take(self, width: int) -> int:
        """Read a number of any width in bytes."""
        number = self._content[self._at : self._at + width]
        if len(number) < width:
            raise BadHeaderError("a table breaks off")
        self._at += width
        return int.from_bytes(number)


class Extent(NamedTuple):
    """A part of an item's data: 1 as `method` means in `idat`, else in the file. A length of 0
    reaches to the end (14496-12, 8.11.3)."""

    method: int
    offset: int
    length: int


class MetaBox:
    """The box `meta` in memory; `file` is for data outside of it. Reading it takes time linear in
    its bytes. All methods and the constructor raise `BadHeaderError`."""

    def __init__(self, file: Content, meta: bytes) -> None:
        self._file, self.content = file, meta
        self._top = {box.kind: box for box in boxes(meta, 4, len(meta))}
        self.kinds = dict(self._item_kinds())
        self.essential: set[tuple[int, int]] = set()
        """Items and the places of their properties that a decoder must heed."""
        self.properties: dict[int, list[Box]] = {}
        self._read_properties()
        self.references: dict[tuple[int, str], list[int]] = {}
        """The items that each item refers to, by source and kind (14496-12, 8.11.12)."""
        self._read_references()
        version, at, _ = self._full("pitm")
        self.primary: int = unpack(">I" if version else ">H", meta, at)[0]

    def _full(self, kind: str) -> tuple[int, int, int]:
        """Return the version of a box, the offset behind its version and flags, and its end."""
        if kind not in self._top:
            raise BadHeaderError(f"no {kind} box")
        _, start, end = self._top[kind]
        return unpack("B", self.content, start)[0], start + 4, end

    def _item_kinds(self) -> Iterator[tuple[int, str]]:
        version, at, end = self._full("iinf")
        for entry in boxes(self.content, at + (4 if version else 2), end):
            is_long = unpack("B", self.content, entry.start)[0] > 2  # noqa: PLR2004 - from version 3
            (item,) = unpack(">I" if is_long else ">H", self.content, entry.start + 4)
            kind = entry.start + (10 if is_long else 8)
            yield item, self.content[kind : kind + 4].decode("latin-1")

    def _read_properties(self) -> None:
        """Read the properties of each item (23008-12, 9.3)."""
        if "iprp" not in self._top:
            raise BadHeaderError("no iprp box")
        _, start, end = self._top["iprp"]
        inside = list(boxes(self.content, start, end))
        containers = (box for box in inside if box.kind == "ipco")
        listed = [prop for box in containers for prop in boxes(self.content, box.start, box.end)]
        for box in inside:
            if box.kind == "ipma":
                for item, index, is_essential in self._associations(box):
                    if 0 < index <= len(listed):
                        self.properties.setdefault(item, []).append(listed[index - 1])
                        if is_essential:
                            self.essential.add((item, listed[index - 1].start))

    def _associations(self, box: Box) -> Iterator[tuple[int, int, bool]]:
        """Yield an item, the number of a property (from 1), and True if that property is
        essential."""
        reader = _Reader(self.content, box.start)
        version, flags, count = reader.unpack(">BxxBI")
        index, essential = ("H", 0x8000) if flags & 1 else ("B", 0x80)
        for _ in range(count):
            item, number = reader.unpack(">IB" if version else ">HB")
            for value in reader.unpack(f">{number}{index}"):
                yield item, value & ~essential, bool(value & essential)

    def _read_references(self) -> None:
        if "iref" not in self._top:
            return
        version, at, end = self._full("iref")
        number = "I" if version else "H"
        for box in boxes(self.content, at, end):
            reader = _Reader(self.content, box.start)
            source, count = reader.unpack(f">{number}H")
            targets = reader.unpack(f">{count}{number}")
            self.references.setdefault((source, box.kind), []).extend(targets)

    def property_of(self, item: int, kind: str) -> Box | None:
        """Return the item's first property of this kind."""
        return next((box for box in self.properties.get(item, []) if box.kind == kind), None)

    def dimensions(self, item: int) -> tuple[int, int] | None:
        """Return the width and height that the item declares."""
        box = self.property_of(item, "ispe")
        if box is None:
            return None
        width, height = unpack(">II", self.content, box.start + 4)
        return width, height

    def extents(self) -> Iterator[tuple[int, Extent]]:
        """Yield each item with each extent of its data."""
        version, at, end = self._full("iloc")
        reader = _Reader(self.content[at:end])
        sizes = reader.take(2)
        id_bytes = 4 if version == 2 else 2  # noqa: PLR2004 - version 2 has wide ids
        for _ in range(reader.take(id_bytes)):
            item = reader.take(id_bytes)
            method = reader.take(2) & 15 if version else 0
            reader.take(2)  # the file that it lies in: always this one
            base = reader.take(sizes >> 4 & 15)
            count = reader.take(2)
            if count > 1 and not sizes >> 8:
                raise BadHeaderError("extents of no bytes")
            for _ in range(count):
                reader.take(sizes & 15 if version else 0)
                offset = base + reader.take(sizes >> 12)
                yield item, Extent(method, offset, reader.take(sizes >> 8 & 15))

    def data(self, extent: Extent, max_bytes: int | None = None) -> bytes:
        """Return the bytes of an extent, or the first `max_bytes` of those that there are. Raises
        `BadHeaderError` if all are requested and some are missing."""
        content, start = self._file, extent.offset
        if extent.method == 1 and "idat" in self._top:
            content, start = self.content, self._top["idat"].start + extent.offset
        end = start + extent.length if extent.length else len(content)
        if max_bytes is not None:
            return content[start : min(end, start + max_bytes)]
        if start > end or end > len(content):
            raise BadHeaderError("the data of an item break off")
        return content[start:end]


def find_meta(content: Content) -> MetaBox | None:
    """Return the box `meta`, None if there is none. Raises `BadHeaderError`, and
    `ImageRejectedError` if the box is too large to read."""
    for box in boxes(content, 0, len(content)):
        if box.kind == "meta":
            if box.end - box.start > _MAX_META_BYTES:
                raise unsupported("a HEIF file of many thousand images")
            return MetaBox(content, content[box.start : box.end])
    return None


def make_box(kind: bytes, *content: bytes) -> bytes:
    """Make a box of this type."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def make_full_box(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Make a box with a version and flags (14496-12, 4.2)."""
    return make_box(kind, struct.pack(">I", version << 24 | flags), *content)


class StoredItem(NamedTuple):
    """An item to write, and the place of its data among all data. `properties` are numbers from 1,
    each with the bit `ESSENTIAL` if a decoder must heed it."""

    id: int
    kind: bytes
    properties: list[int]
    offset: int
    length: int


ESSENTIAL = 0x8000  # in the numbers of properties


def make_heif(
    primary: int,
    items: list[StoredItem],
    data: list[bytes],
    properties: list[bytes],
    references: list[bytes],
) -> bytes:
    """Make a file of these items, in the order of their ids (23008-12, 9.3.1); `properties` and
    `references` are boxes. Ids have 32 bits (14496-12, 8.11)."""
    brand = b"avif" if any(item.kind == b"av01" for item in items) else b"heic"
    start = make_box(b"ftyp", brand, bytes(4), brand, b"mif1")
    data_head = struct.pack(">I4s", 8 + sum(map(len, data)), b"mdat")
    before = len(start) + len(data_head)
    count = struct.pack(">I", len(items))
    entries = [
        make_full_box(b"infe", struct.pack(">IH4sx", item.id, 0, item.kind), version=3)
        for item in items
    ]
    places = [
        struct.pack(">IHHHII", item.id, 0, 0, 1, before + item.offset, item.length)
        for item in items
    ]
    associations = [
        struct.pack(f">IB{len(item.properties)}H", item.id, len(item.properties), *item.properties)
        for item in items
    ]
    meta = make_full_box(
        b"meta",
        make_full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        make_full_box(b"pitm", struct.pack(">I", primary), version=1),
        make_full_box(b"iloc", b"\x44\0", count, *places, version=2),
        make_full_box(b"iinf", count, *entries, version=1),
        make_full_box(b"iref", *references, version=1),
        make_box(
            b"iprp",
            make_box(b"ipco", *properties),
            make_full_box(b"ipma", count, *associations, version=1, flags=1),
        ),
    )
    return b"".join([start, data_head, *data, meta])
