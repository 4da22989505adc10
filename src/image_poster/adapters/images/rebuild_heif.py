"""Rebuild a HEIC or AVIF from its primary item and the items that this is made of.

A decoder counts and checks all items of a file, also thousands that no viewer needs. The rebuilt
file has 32-bit ids (ISO/IEC 14496-12, 8.11), so that each item keeps its own.
"""

import struct

from image_poster.adapters.images.header_facts import BadHeaderError, Content, unpack
from image_poster.adapters.images.hevc import coded_size
from image_poster.adapters.images.isobmff import Meta, find_meta
from image_poster.adapters.images.isobmff_boxes import Box, make_box, make_full_box
from image_poster.adapters.images.sequences import first_image_of

_BRANDS = {"av01": b"avif"}
_PROPERTIES = {"ispe", "hvcC", "av1C", "colr", "pixi", "irot", "imir", "clap", "auxC"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
# Bytes of an ICC profile's header, and where its signature is (ICC.1:2022, 7.2).
_PROFILE_HEADER_BYTES, _PROFILE_SIGNATURE_AT = 128, 36
# A block of HEVC has at most 64 pixels a side: encoders code whole blocks of a smaller image.
_MAX_PADDING = 64
# Widths of the numbers in `ipma`.
_MAX_PROPERTIES, _MAX_ASSOCIATIONS, _ESSENTIAL = 0x7FFF, 0xFE, 0x8000


def rebuild_heif(content: Content) -> bytes:
    """Return the rebuilt file. Raises `BadHeaderError` if data of an item are missing."""
    meta = find_meta(content)
    if meta is None:
        return first_image_of(content)
    items = _needed_items(meta)
    pieces, places = _collect_data(content, meta, items)
    brand = next(
        (_BRANDS[kind] for item in items if (kind := meta.kinds[item]) in _BRANDS), b"heic"
    )
    start = make_box(b"ftyp", brand, bytes(4), brand, b"mif1")
    data_head = struct.pack(">I4s", 8 + sum(map(len, pieces)), b"mdat")
    boxes = _meta_box(meta, items, places, len(start) + len(data_head))
    return b"".join([start, data_head, *pieces, boxes])


def _needed_items(meta: Meta) -> list[int]:
    """Return the primary item, all items that it is derived from, and their alpha."""
    alpha_of: dict[int, list[int]] = {}
    for (source, kind), targets in meta.references.items():
        if kind == "auxl" and _is_alpha(meta, source):
            for target in targets:
                alpha_of.setdefault(target, []).append(source)
    needed: dict[int, None] = {}
    waiting = [meta.primary()]
    while waiting:
        item = waiting.pop()
        if item in needed:
            continue
        if item not in meta.kinds:
            raise BadHeaderError("an item is missing")
        needed[item] = None
        waiting += meta.references.get((item, "dimg"), [])
        waiting += alpha_of.get(item, [])
    return sorted(needed)  # the order of entries in `ipma` (23008-12, 9.3.1)


def _is_alpha(meta: Meta, item: int) -> bool:
    return any(
        box.kind == "auxC" and meta.content[box.start + 4 : box.end].startswith(_ALPHA)
        for box in meta.properties.get(item, [])
    )


def _collect_data(
    content: Content, meta: Meta, items: list[int]
) -> tuple[list[bytes], dict[int, tuple[int, int]]]:
    """Return the data of all items in pieces, and the offset and length of each item's data."""
    extents: dict[int, list[tuple[int, int, int]]] = {item: [] for item in items}
    for item, *extent in meta.locations():
        if item in extents:
            extents[item].append((extent[0], extent[1], extent[2]))
    places: dict[int, tuple[int, int]] = {}
    shared: dict[tuple[tuple[int, int, int], ...], tuple[int, int]] = {}
    data: list[bytes] = []
    total = 0
    for item in items:
        key = tuple(extents[item])
        if not key:
            raise BadHeaderError("an item has no data")
        if key not in shared:  # equal tiles may have the same data
            pieces = [meta.whole_extent(*extent) for extent in key]
            shared[key] = total, sum(map(len, pieces))
            total += shared[key][1]
            data += pieces
            if total > len(content):
                raise BadHeaderError("items whose data overlap")
        places[item] = shared[key]
    return data, places


def _meta_box(
    meta: Meta, items: list[int], places: dict[int, tuple[int, int]], before: int
) -> bytes:
    """Make the box `meta`; `before` is the number of bytes before the data."""
    count = struct.pack(">I", len(items))
    entries = [
        make_full_box(b"infe", struct.pack(">IH4sx", item, 0, kind), version=3)
        for item in items
        for kind in [meta.kinds[item].encode("latin-1")]
    ]
    lines = [
        struct.pack(">IHHHII", item, 0, 0, 1, before + places[item][0], places[item][1])
        for item in items
    ]
    return make_full_box(
        b"meta",
        make_full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        make_full_box(b"pitm", struct.pack(">I", meta.primary()), version=1),
        make_full_box(b"iloc", b"\x44\0", count, *lines, version=2),
        make_full_box(b"iinf", count, *entries, version=1),
        make_full_box(b"iref", *_references(meta, items), version=1),
        make_box(b"iprp", *_properties(meta, items)),
    )


def _references(meta: Meta, items: list[int]) -> list[bytes]:
    needed = set(items)
    boxes = []
    for (source, kind), targets in meta.references.items():
        if source in needed and kind in ("dimg", "auxl"):
            numbers = [target for target in targets if target in needed]
            body = struct.pack(f">IH{len(numbers)}I", source, len(numbers), *numbers)
            boxes.append(make_box(kind.encode(), body))
    return boxes


class _PropertyTable:
    """The properties of items, numbered from 1; equal and shared properties are stored once."""

    def __init__(self, meta: Meta) -> None:
        self.boxes: dict[bytes, int] = {}
        self._meta = meta
        self._numbers: dict[tuple[int, tuple[int, int] | None], int] = {}
        self._sizes: dict[int, tuple[int, int] | None] = {}

    def numbers(self, item: int) -> list[int]:
        """Return the numbers of an item's properties, each with a flag if it is essential."""
        boxes = self._meta.properties.get(item, [])
        if len(boxes) > _MAX_ASSOCIATIONS:
            raise BadHeaderError("more properties than an item has")
        size = next((self._coded_size(box) for box in boxes if box.kind == "hvcC"), None)
        is_cropped = any(box.kind == "clap" for box in boxes)
        numbers = []
        for box in boxes:
            is_essential = (item, box.start) in self._meta.essential
            if is_essential or self._is_needed(box):
                numbers.append(self._number(box, size) | _ESSENTIAL * is_essential)
            if box.kind == "ispe" and size and item == self._meta.primary() and not is_cropped:
                shown = unpack(">II", self._meta.content, box.start + 4)
                numbers += [self._add(crop) | _ESSENTIAL for crop in _crop(size, shown)]
        return numbers

    def _number(self, box: Box, size: tuple[int, int] | None) -> int:
        """Return the number of a property. The property `ispe` gets the size of the coded
        pixels."""
        key = (box.start, size if box.kind == "ispe" else None)
        if key not in self._numbers:
            body = self._meta.content[box.start : box.end]
            if box.kind == "ispe" and size is not None:
                body = bytes(4) + struct.pack(">II", *size)
            self._numbers[key] = self._add(make_box(box.kind.encode("latin-1"), body))
        return self._numbers[key]

    def _add(self, box: bytes) -> int:
        number = self.boxes.setdefault(box, len(self.boxes) + 1)
        if number > _MAX_PROPERTIES:
            raise BadHeaderError("more properties than can be numbered")
        return number

    def _coded_size(self, box: Box) -> tuple[int, int] | None:
        """Return the size in the HEVC configuration; None if it cannot be read."""
        if box.start not in self._sizes:
            try:
                size = coded_size(self._meta.content[box.start : box.end])
            except BadHeaderError:
                size = None
            self._sizes[box.start] = size
        return self._sizes[box.start]

    def _is_needed(self, box: Box) -> bool:
        """Return True for the kinds that decoders use; for a colour profile, if it has a header."""
        content = self._meta.content
        if box.kind != "colr" or content[box.start : box.start + 4] == b"nclx":
            return box.kind in _PROPERTIES
        signature = box.start + 4 + _PROFILE_SIGNATURE_AT
        has_header = box.end - box.start > 4 + _PROFILE_HEADER_BYTES
        return has_header and content[signature : signature + 4] == b"acsp"


def _properties(meta: Meta, items: list[int]) -> tuple[bytes, bytes]:
    """Make the boxes `ipco` and `ipma`."""
    table = _PropertyTable(meta)
    lines = [
        struct.pack(f">IB{len(numbers)}H", item, len(numbers), *numbers)
        for item in items
        for numbers in [table.numbers(item)]
    ]
    count = struct.pack(">I", len(items))
    return make_box(b"ipco", *table.boxes), make_full_box(
        b"ipma", count, *lines, version=1, flags=1
    )


def _crop(coded: tuple[int, int], shown: tuple[int, ...]) -> list[bytes]:
    """Make a property that crops the padding at the right and the bottom (23008-12, 6.5.9). Return
    an empty list if there is none."""
    padding = [a - b for a, b in zip(coded, shown, strict=True)]
    if not any(padding) or not all(0 <= number < _MAX_PADDING for number in padding):
        return []
    # The offset from centre to centre: half of what is cut off, to the left and to the top.
    numbers = [(side, 1) for side in shown] + [(-number, 2) for number in padding]
    body = b"".join(struct.pack(">iI", *number) for number in numbers)
    return [make_box(b"clap", body)]
