"""HEIC and AVIF put together box by box, around pixels that a real encoder coded."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

Properties = tuple[bytes, ...]


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def boxes(
    content: bytes, start: int = 0, end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each box."""
    at, end = start, len(content) if end is None else end
    while at + 8 <= end:
        (size,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], at, at + size
        at += size


def ispe(width: int, height: int) -> bytes:
    return full(b"ispe", struct.pack(">II", width, height))


@dataclass(frozen=True)
class Item:
    """An item, its data, its properties, and what it refers to: kinds and numbers of items."""

    kind: bytes
    data: bytes
    properties: Properties = ()
    refers: tuple[tuple[bytes, tuple[int, ...]], ...] = ()
    hidden: bool = False
    extra: bytes = b""
    """What follows the name in its entry (the type of `mime`)."""


@dataclass(frozen=True)
class Heif:
    """Items are numbered from 1; the first is shown. Each change is a field of its own."""

    items: tuple[Item, ...]
    brand: bytes = b"heic"
    before_meta: bytes = b""
    after: bytes = b""
    more_meta: bytes = b""
    data_box: Callable[[bytes], bytes] = field(default=lambda data: box(b"mdat", data))
    data_first: bool = False
    beyond: tuple[int, ...] = ()
    """Items whose data is said to lie past the end of the file."""

    def with_items(self, *more: Item) -> "Heif":
        return replace(self, items=self.items + more)

    def encoded(self) -> bytes:
        start = box(b"ftyp", self.brand, bytes(4), b"mif1", self.brand)
        data, places = b"", []
        shared: dict[bytes, int] = {}
        for item in self.items:
            if item.data not in shared:
                shared[item.data] = len(data)
                data += item.data
            places.append(shared[item.data])
        media_box = self.data_box(data)
        inside = media_box.index(data)
        if self.data_first:
            offset = len(start) + len(self.before_meta) + inside
            return start + self.before_meta + media_box + self._meta(offset, places) + self.after
        offset = len(start) + len(self.before_meta) + len(self._meta(0, places)) + inside
        return start + self.before_meta + self._meta(offset, places) + media_box + self.after

    def _meta(self, offset: int, places: list[int]) -> bytes:
        numbered = list(enumerate(self.items, 1))
        entries = [
            full(
                b"infe",
                struct.pack(">HH", number, 0),
                item.kind,
                b"\0",
                item.extra,
                version=2,
                flags=item.hidden,
            )
            for number, item in numbered
        ]
        lines = b"".join(
            struct.pack(
                ">HHHII",
                number,
                0,
                1,
                (1 << 30) if number in self.beyond else offset + places[number - 1],
                len(item.data),
            )
            for number, item in numbered
        )
        listed: list[bytes] = []
        for item in self.items:
            listed += [entry for entry in item.properties if entry not in listed]
        associations = b"".join(
            struct.pack(">HB", number, len(item.properties))
            + b"".join(struct.pack(">H", listed.index(entry) + 1) for entry in item.properties)
            for number, item in numbered
        )
        references = [
            box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
            for number, item in numbered
            for kind, targets in item.refers
        ]
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", 1)),
            full(b"iloc", b"\x44\0", struct.pack(">H", len(self.items)), lines),
            full(b"iinf", struct.pack(">H", len(self.items)), *entries),
            *([full(b"iref", *references)] if references else []),
            box(
                b"iprp",
                box(b"ipco", *listed),
                full(b"ipma", struct.pack(">I", len(self.items)), associations, flags=1),
            ),
            self.more_meta,
        )


def taken_apart(content: bytes, kind: bytes) -> Item:
    """The one coded item of a file that an encoder wrote."""
    meta = next((start, end) for name, start, end in boxes(content) if name == b"meta")
    inside = {name: (start, end) for name, start, end in boxes(content, meta[0] + 12, meta[1])}
    properties = {
        name: content[start:end]
        for outer, first, last in boxes(content, inside[b"iprp"][0] + 8, inside[b"iprp"][1])
        if outer == b"ipco"
        for name, start, end in boxes(content, first + 8, last)
        if name in (b"hvcC", b"av1C", b"ispe", b"colr", b"pixi")
    }
    data = next(content[start + 8 : end] for name, start, end in boxes(content) if name == b"mdat")
    return Item(kind, data, tuple(properties.values()))


def grid(tile: Item, side: int, tile_side: int) -> tuple[Item, ...]:
    """An image of `side` times `side` equal tiles (23008-12, 6.6.2.3.2), and the tiles."""
    pixels = side * tile_side
    data = struct.pack(">BBBBII", 0, 1, side - 1, side - 1, pixels, pixels)
    numbers = tuple(range(2, 2 + side * side))
    colour = tuple(prop for prop in tile.properties if prop[4:8] in (b"colr", b"pixi"))
    grid = Item(b"grid", data, (ispe(pixels, pixels), *colour), ((b"dimg", numbers),))
    return (grid, *[tile] * len(numbers))
