"""Rebuild a HEIC or AVIF from its primary item and the items that this is made of. Without a
primary item, make a still image of the first frame of its sequence.

A decoder counts and checks all items of a file, also thousands that no viewer needs. In the rebuilt
file, each item keeps its id.
"""

import struct
from functools import cache

from image_poster.adapters.images.header import BadHeaderError, Content, unpack
from image_poster.adapters.images.isobmff import (
    ESSENTIAL,
    Box,
    Extent,
    MetaBox,
    StoredItem,
    boxes,
    find_meta,
    make_box,
    make_full_box,
    make_heif,
)

_PROPERTIES = {"ispe", "hvcC", "av1C", "colr", "pixi", "irot", "imir", "clap", "auxC"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
# Bytes of an ICC profile's header, and where its signature is (ICC.1:2022, 7.2).
_PROFILE_HEADER_BYTES, _PROFILE_SIGNATURE_AT = 128, 36
# A block of HEVC has at most 64 pixels a side: encoders code whole blocks of a smaller image.
_MAX_PADDING = 64
# Limits of the numbers in `ipma`.
_MAX_PROPERTIES, _MAX_ASSOCIATIONS = 0x7FFF, 0xFE


def rebuild_heif(content: Content) -> bytes:
    """Return the rebuilt file. Raises `BadHeaderError` if data of an item are missing."""
    meta = find_meta(content)
    if meta is None:
        return first_frame_as_still(content)
    needed = _needed_items(meta)
    data, places = _collect_data(content, meta, needed)
    table = _PropertyTable(meta)
    items = [
        StoredItem(item, meta.kinds[item].encode("latin-1"), table.numbers(item), *places[item])
        for item in needed
    ]
    return make_heif(meta.primary, items, data, table.boxes, _references(meta, needed))


def _needed_items(meta: MetaBox) -> list[int]:
    """Return the primary item, all items that it is derived from, and their alpha, in order."""
    alpha_of: dict[int, list[int]] = {}
    for (source, kind), targets in meta.references.items():
        if kind == "auxl" and _is_alpha(meta, source):
            for target in targets:
                alpha_of.setdefault(target, []).append(source)
    needed: set[int] = set()
    waiting = [meta.primary]
    while waiting:
        item = waiting.pop()
        if item in needed:
            continue
        if item not in meta.kinds:
            raise BadHeaderError("an item is missing")
        needed.add(item)
        waiting += meta.references.get((item, "dimg"), [])
        waiting += alpha_of.get(item, [])
    return sorted(needed)


def _is_alpha(meta: MetaBox, item: int) -> bool:
    return any(
        box.kind == "auxC" and meta.content[box.start + 4 : box.end].startswith(_ALPHA)
        for box in meta.properties.get(item, [])
    )


def _collect_data(
    content: Content, meta: MetaBox, items: list[int]
) -> tuple[list[bytes], dict[int, tuple[int, int]]]:
    """Return the data of all items in pieces, and the offset and length of each item's data."""
    extents: dict[int, list[Extent]] = {item: [] for item in items}
    for item, extent in meta.extents():
        if item in extents:
            extents[item].append(extent)
    places: dict[int, tuple[int, int]] = {}
    shared: dict[tuple[Extent, ...], tuple[int, int]] = {}
    data: list[bytes] = []
    total = 0
    for item, parts in extents.items():
        key = tuple(parts)
        if not key:
            raise BadHeaderError("an item has no data")
        if key not in shared:  # equal tiles may have the same data
            pieces = [meta.data(extent) for extent in parts]
            shared[key] = total, sum(map(len, pieces))
            total += shared[key][1]
            data += pieces
            if total > len(content):
                raise BadHeaderError("items whose data overlap")
        places[item] = shared[key]
    return data, places


def _references(meta: MetaBox, items: list[int]) -> list[bytes]:
    needed = set(items)
    references = []
    for (source, kind), targets in meta.references.items():
        if source in needed and kind in ("dimg", "auxl"):
            numbers = [target for target in targets if target in needed]
            body = struct.pack(f">IH{len(numbers)}I", source, len(numbers), *numbers)
            references.append(make_box(kind.encode(), body))
    return references


class _PropertyTable:
    """The properties of items, numbered from 1; shared properties are stored once."""

    def __init__(self, meta: MetaBox) -> None:
        self.boxes: list[bytes] = []
        self._meta = meta
        self._numbers: dict[tuple[int, tuple[int, int] | None], int] = {}
        self._coded_size = cache(self._read_coded_size)

    def numbers(self, item: int) -> list[int]:
        """Return the numbers of an item's properties, each with a flag if it is essential."""
        properties = self._meta.properties.get(item, [])
        if len(properties) > _MAX_ASSOCIATIONS:
            raise BadHeaderError("more properties than an item has")
        configuration = self._meta.property_of(item, "hvcC")
        size = None if configuration is None else self._coded_size(configuration)
        is_cropped = self._meta.property_of(item, "clap") is not None
        numbers = []
        for box in properties:
            is_essential = (item, box.start) in self._meta.essential
            if is_essential or self._is_needed(box):
                numbers.append(self._number(box, size) | ESSENTIAL * is_essential)
            if box.kind == "ispe" and size and item == self._meta.primary and not is_cropped:
                shown = unpack(">II", self._meta.content, box.start + 4)
                numbers += [self._add(crop) | ESSENTIAL for crop in _crop(size, shown)]
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
        self.boxes.append(box)
        if len(self.boxes) > _MAX_PROPERTIES:
            raise BadHeaderError("more properties than can be numbered")
        return len(self.boxes)

    def _read_coded_size(self, box: Box) -> tuple[int, int] | None:
        """Return the size in the HEVC configuration; None if it cannot be read."""
        try:
            return _coded_size(self._meta.content[box.start : box.end])
        except BadHeaderError:
            return None

    def _is_needed(self, box: Box) -> bool:
        """Return True for the kinds that decoders use; for a colour profile, if it has a header."""
        content = self._meta.content
        if box.kind != "colr" or content[box.start : box.start + 4] == b"nclx":
            return box.kind in _PROPERTIES
        signature = box.start + 4 + _PROFILE_SIGNATURE_AT
        has_header = box.end - box.start > 4 + _PROFILE_HEADER_BYTES
        return has_header and content[signature : signature + 4] == b"acsp"


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


# --- The size in pixels of a coded HEVC image: ITU-T H.265, 7.3.2.2 ---

_PARAMETER_SET = 33
_MAX_PARAMETER_SET_BYTES = 1000
_BEFORE_SUB_LAYERS, _PROFILE_BITS, _LEVEL_BITS = 16 + 4, 88, 8
_CHROMA_444 = 3
_MAX_NUMBER_BITS = 32
# How many columns and rows of pixels a sample of colour has, by chroma format (table 6-1).
_SUBSAMPLING = ((1, 1), (2, 2), (2, 1), (1, 1))


def _coded_size(configuration: bytes) -> tuple[int, int]:
    """Return width and height after the conformance window, by the box `hvcC` (14496-15,
    8.3.3.1.2). Raises `BadHeaderError`."""
    at = 23
    for _ in range(unpack("B", configuration, 22)[0]):
        kind, count = unpack(">BH", configuration, at)
        at += 3
        for _ in range(count):
            (length,) = unpack(">H", configuration, at)
            if kind & 0x3F == _PARAMETER_SET:
                return _parse_parameter_set(configuration[at + 2 : at + 2 + length])
            at += 2 + length
    raise BadHeaderError("no sequence parameter set")


def _parse_parameter_set(parameter_set: bytes) -> tuple[int, int]:
    bits = _Bits(parameter_set[:_MAX_PARAMETER_SET_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.take(_BEFORE_SUB_LAYERS)
    sub_layers = bits.take(3)
    bits.take(1 + _PROFILE_BITS + _LEVEL_BITS)
    flags = [(bits.take(1), bits.take(1)) for _ in range(sub_layers)]
    bits.take(2 * (8 - sub_layers) if sub_layers else 0)
    for profile, level in flags:
        bits.take(profile * _PROFILE_BITS + level * _LEVEL_BITS)
    bits.take_number()  # its id
    chroma = bits.take_number() & 3
    bits.take(1 if chroma == _CHROMA_444 else 0)
    width, height = bits.take_number(), bits.take_number()
    across, down = _SUBSAMPLING[chroma]
    if bits.take(1):
        left, right, top, bottom = (bits.take_number() for _ in range(4))
        width, height = width - across * (left + right), height - down * (top + bottom)
    if width < 1 or height < 1:
        raise BadHeaderError("a side of the coded image is 0")
    return width, height


class _Bits:
    """A reader of numbers of bits, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in content)
        self._at = 0

    def take(self, count: int) -> int:
        self._at += count
        if self._at > len(self._bits):
            raise BadHeaderError("a parameter set breaks off")
        return int(self._bits[self._at - count : self._at] or "0", 2)

    def take_number(self) -> int:
        """Read a number in the exponential Golomb code (H.265, 9.2)."""
        zeros = self._bits.find("1", self._at) - self._at
        if not 0 <= zeros <= _MAX_NUMBER_BITS:
            raise BadHeaderError("a parameter set breaks off")
        self.take(zeros)
        return self.take(zeros + 1) - 1


# --- Image sequences: ISO/IEC 23008-12, 7 ---

# The item that has the same pixels as a sample entry, and the properties that both have.
_ITEMS = {"hvc1": b"hvc1", "hev1": b"hvc1", "av01": b"av01"}
_FRAME_PROPERTIES = {"hvcC", "av1C", "colr"}
_HANDLERS = {b"pict", b"vide"}
_ENTRY_BYTES = 78  # VisualSampleEntry, before its boxes (14496-12, 12.1.3)
_MAX_FRAME_BYTES = 100_000_000


def first_frame_as_still(content: Content) -> bytes:
    """Return a still image of the first frame, which is coded like one; the decoders here support
    only these. Raises `BadHeaderError` if there is no frame."""
    moov = _child(content, Box("", 0, len(content)), "moov")
    for track in boxes(content, moov.start, moov.end):
        if track.kind == "trak":
            media = _child(content, track, "mdia")
            handler = _child(content, media, "hdlr")
            if content[handler.start + 8 : handler.start + 12] in _HANDLERS:
                return _still(content, _child(content, _child(content, media, "minf"), "stbl"))
    raise BadHeaderError("no track of images")


def _child(content: Content, parent: Box, kind: str) -> Box:
    for box in boxes(content, parent.start, parent.end):
        if box.kind == kind:
            return box
    raise BadHeaderError(f"no {kind} box")


def _still(content: Content, table: Box) -> bytes:
    descriptions = _child(content, table, "stsd")
    entry = next(boxes(content, descriptions.start + 8, descriptions.end), None)
    if entry is None or entry.kind not in _ITEMS:
        raise BadHeaderError("frames of another coding")
    width, height = unpack(">HH", content, entry.start + 24)
    properties = [make_full_box(b"ispe", struct.pack(">II", width, height))]
    properties += [
        content[box.start - 8 : box.end]
        for box in boxes(content, entry.start + _ENTRY_BYTES, entry.end)
        if box.kind in _FRAME_PROPERTIES
    ]
    if len(properties) > _MAX_ASSOCIATIONS:
        raise BadHeaderError("more properties than an item has")
    frame = _first_frame(content, table)
    numbers = list(range(1, len(properties) + 1))
    item = StoredItem(1, _ITEMS[entry.kind], numbers, 0, len(frame))
    return make_heif(1, [item], [frame], properties, [])


def _first_frame(content: Content, table: Box) -> bytes:
    sizes = _child(content, table, "stsz")
    size, count = unpack(">II", content, sizes.start + 4)
    if count and not size:
        (size,) = unpack(">I", content, sizes.start + 12)
    chunks = {box.kind: box for box in boxes(content, table.start, table.end)}
    if "co64" in chunks:
        (offset,) = unpack(">Q", content, chunks["co64"].start + 8)
    else:
        (offset,) = unpack(">I", content, _child(content, table, "stco").start + 8)
    frame = content[offset : offset + min(size, _MAX_FRAME_BYTES)]
    if not frame or len(frame) < size:
        raise BadHeaderError("the first frame breaks off")
    return frame
