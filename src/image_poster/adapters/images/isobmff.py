"""Headers of HEIC and AVIF: the boxes of ISO/IEC 14496-12 and the items of ISO/IEC 23008-12."""

import struct
from collections.abc import Iterator

from image_poster.adapters.images.colour import Colour
from image_poster.adapters.images.header_facts import (
    BadHeaderError,
    Coding,
    Content,
    HeaderFacts,
    unpack,
    unsupported,
)
from image_poster.adapters.images.isobmff_boxes import Box, boxes
from image_poster.adapters.images.sequences import first_image_of

_STILL_BRANDS = {
    "hvc1": (b"heic", {b"heic", b"heix", b"heim", b"heis"}),
    "av01": (b"avif", {b"avif", b"avis"}),
}
_MAX_FTYP_BYTES = 256
_MAX_META_BYTES = 4_000_000
_MAX_EXIF_BYTES = 1_000_000
_MAX_DERIVED = 3  # an overlay of grids of tiles
_CODECS = {"hvc1", "av01"}
_NO_DATA = bytes(4)
# Codings that HEIF allows and that no decoder here has (23008-12, annexes; and their own parts).
_OTHER_CODECS = {
    "jpeg": "JPEG", "j2k1": "JPEG 2000", "vvc1": "VVC", "evc1": "EVC", "avc1": "AVC",
    "unci": "uncompressed pixels",
}  # fmt: skip


def read_isobmff(content: Content) -> HeaderFacts:
    """Read the primary item, or the first frame of a sequence without one. Raises `BadHeaderError`,
    and `ImageRejectedError` for other codecs."""
    meta = find_meta(content)
    if meta is None:
        still = first_image_of(content)
        return read_isobmff(still)._replace(stand_in=still)
    facts = meta.facts()
    return facts._replace(stand_in=_rebranded(content, facts))


def find_meta(content: Content) -> "Meta | None":
    """Return the box `meta`, None if there is none. Raises `BadHeaderError`, and
    `ImageRejectedError` if the box is too large to read."""
    for box in boxes(content, 0, len(content)):
        if box.kind == "meta":
            if box.end - box.start > _MAX_META_BYTES:
                raise unsupported("a HEIF file of many thousand images")
            return Meta(content, content[box.start : box.end])
    return None


def _rebranded(content: Content, facts: HeaderFacts) -> bytes | None:
    """Return the file with the brand of its coding only; None if that is not needed or not
    possible. Decoders do not recognise all brands as a still image: `mif1` only means HEIF, and
    `msf1` a sequence (23008-12, 10)."""
    (size,) = unpack(">I", content)
    if facts.coding is None or size > _MAX_FTYP_BYTES:
        return None
    brand, known = _STILL_BRANDS[facts.coding.codec]
    brands = {content[at : at + 4] for at in (8, *range(16, size, 4))}
    if content[8:12] in known or (content[8:12] == b"mif1" and brands & known):
        return None
    changed = bytearray(content[: len(content)])
    for at in (8, *range(16, size, 4)):
        changed[at : at + 4] = brand
    return bytes(changed)


class Meta:
    """The box `meta` in memory; `file` is for data outside of it. Reading it takes time linear in
    its bytes."""

    def __init__(self, file: Content, meta: bytes) -> None:
        self._file, self.content = file, meta
        self._top = {box.kind: box for box in boxes(meta, 4, len(meta))}
        self.kinds = dict(self._item_kinds())
        self.essential: set[tuple[int, int]] = set()
        """Items and the places of their properties that a decoder must heed."""
        self.properties = self._item_properties()
        self.references = self._item_references()
        self._counted: dict[tuple[int, int], int] = {}

    def facts(self) -> HeaderFacts:
        primary = self.primary()
        kind = self.kinds.get(primary, "")
        if kind in _OTHER_CODECS:
            raise unsupported(f"a HEIF image coded as {_OTHER_CODECS[kind]}")
        properties = self.properties.get(primary, [])
        own = {box.kind for box in properties}
        # What turns in the file wins over EXIF, and decoders apply it (23008-12, 6.5.10).
        turned = bool(own & {"irot", "imir"})
        orientation = 1 if turned else self._exif_orientation(primary)
        return HeaderFacts(
            size=None if "clap" in own else self._dimensions(primary),
            exif_orientation=orientation,
            colour=self._colour(properties),
            coding=self._coding(primary, is_cut="clap" in own),
            lacks_tile=self._lacks_tile(primary),
        )

    def _lacks_tile(self, primary: int) -> bool:
        """Return True if the data of an HEVC part begin with zeros, which no NAL unit does
        (14496-15, 4.3). Then a transfer reserved space for the data, and did not fill it."""
        parts = {primary, *self.references.get((primary, "dimg"), [])}
        try:
            for item, *extent in self.locations():
                if item in parts and self.kinds.get(item) == "hvc1":
                    content, start, end = self._extent(*extent)
                    if content[start : min(end, start + len(_NO_DATA))] == _NO_DATA:
                        return True
        except BadHeaderError:
            pass  # decoders tell
        return False

    def _coding(self, primary: int, *, is_cut: bool) -> Coding | None:
        """Return the coding of the pixels, by the first item that they come from; None if it has
        none."""
        kind = self.kinds.get(primary, "")
        parts = self.references.get((primary, "dimg"), [])
        first = primary if kind in _CODECS else next(iter(parts), primary)
        alpha = any(kind == "auxl" for _, kind in self.references)
        if self.kinds.get(first) not in _CODECS:
            return None
        for box in self.properties.get(first, []):
            told = _planes(self.content, box)
            if told is not None:
                depth_bytes, planes = told
                return Coding(
                    codec=self.kinds.get(first, ""),
                    planes_bytes=(planes + alpha) * depth_bytes,
                    sample_bytes=depth_bytes,
                    alpha=alpha,
                    coded_pixels=self._coded_pixels(primary),
                    tiles=bool(parts),
                    is_plain=kind in {*_CODECS, "grid"} and not is_cut,
                )
        return None

    def _coded_pixels(self, item: int, depth: int = 0) -> int:
        """Count the pixels of the item, or of all its parts; repeated parts count again."""
        if (item, depth) not in self._counted:
            if self.kinds.get(item) in _CODECS or depth == _MAX_DERIVED:
                counted = self._area(item)
            else:
                parts = self.references.get((item, "dimg"), [])
                counted = sum(self._coded_pixels(part, depth + 1) for part in parts)
            self._counted[item, depth] = counted
        return self._counted[item, depth]

    def _area(self, item: int) -> int:
        width, height = self._dimensions(item) or (0, 0)
        return width * height

    def _dimensions(self, item: int) -> tuple[int, int] | None:
        for box in self.properties.get(item, []):
            if box.kind == "ispe":
                width, height = unpack(">II", self.content, box.start + 4)
                return width, height
        return None

    def _colour(self, properties: list[Box]) -> Colour | None:
        """Return the colours by code points (nclx; 14496-12, 12.1.5)."""
        for box in properties:
            if self.content[box.start : box.start + 4] == b"nclx" and box.kind == "colr":
                primaries, transfer = unpack(">HH", self.content, box.start + 4)
                return Colour(primaries, transfer)
        return None

    def _full(self, kind: str) -> tuple[int, int, int]:
        """Return the version of a box, the offset behind its version and flags, and its end."""
        if kind not in self._top:
            raise BadHeaderError(f"no {kind} box")
        _, start, end = self._top[kind]
        return unpack("B", self.content, start)[0], start + 4, end

    def primary(self) -> int:
        version, at, _ = self._full("pitm")
        return unpack(">I" if version else ">H", self.content, at)[0]

    def _item_kinds(self) -> Iterator[tuple[int, str]]:
        version, at, end = self._full("iinf")
        for entry in boxes(self.content, at + (4 if version else 2), end):
            long = unpack("B", self.content, entry.start)[0] > 2  # noqa: PLR2004 - from version 3 on
            (item,) = unpack(">I" if long else ">H", self.content, entry.start + 4)
            kind = entry.start + (10 if long else 8)
            yield item, self.content[kind : kind + 4].decode("latin-1")

    def _item_properties(self) -> dict[int, list[Box]]:
        """Return the properties of each item (23008-12, 9.3)."""
        if "iprp" not in self._top:
            raise BadHeaderError("no iprp box")
        _, start, end = self._top["iprp"]
        inside = list(boxes(self.content, start, end))
        containers = (box for box in inside if box.kind == "ipco")
        listed = [prop for box in containers for prop in boxes(self.content, box.start, box.end)]
        found: dict[int, list[Box]] = {}
        for box in inside:
            if box.kind == "ipma":
                for item, index, is_essential in self._associations(box):
                    if 0 < index <= len(listed):
                        found.setdefault(item, []).append(listed[index - 1])
                        if is_essential:
                            self.essential.add((item, listed[index - 1].start))
        return found

    def _associations(self, box: Box) -> Iterator[tuple[int, int, bool]]:
        """Yield an item, the number of a property (from 1), and True if that property is
        essential."""
        version, _, _, flags, count = unpack(">BBBBI", self.content, box.start)
        at = box.start + 8
        index, essential = (">H", 0x8000) if flags & 1 else (">B", 0x80)
        for _ in range(count):
            item, number = unpack(">IB" if version else ">HB", self.content, at)
            at += 5 if version else 3
            for _ in range(number):
                (value,) = unpack(index, self.content, at)
                yield item, value & ~essential, bool(value & essential)
                at += struct.calcsize(index)

    def _exif_orientation(self, item: int) -> int:
        """Return the orientation in the EXIF that describes the item; 1 if there is none."""
        for (exif, kind), described in self.references.items():
            if kind == "cdsc" and item in described and self.kinds.get(exif) == "Exif":
                content = self._exif(exif)
                try:
                    # Four bytes say where the TIFF header is (23008-12, A.2.1).
                    return orientation_of(content[4 + unpack(">I", content)[0] :])
                except BadHeaderError:
                    return 1
        return 1

    def _item_references(self) -> dict[tuple[int, str], list[int]]:
        """Return the items that each item refers to, by source and kind (14496-12, 8.11.12)."""
        found: dict[tuple[int, str], list[int]] = {}
        if "iref" not in self._top:
            return found
        version, at, end = self._full("iref")
        number = "I" if version else "H"
        for box in boxes(self.content, at, end):
            source, count = unpack(f">{number}H", self.content, box.start)
            targets = unpack(
                f">{count}{number}", self.content, box.start + struct.calcsize(f">{number}H")
            )
            found.setdefault((source, box.kind), []).extend(targets)
        return found

    def _exif(self, exif: int) -> bytes:
        """Return the first extent of an item."""
        for item, *extent in self.locations():
            if item == exif:
                content, start, end = self._extent(*extent)
                return content[start : min(end, start + _MAX_EXIF_BYTES)]
        return b""

    def whole_extent(self, method: int, offset: int, length: int) -> bytes:
        """Return all bytes of an extent. Raises `BadHeaderError` if some are missing."""
        content, start, end = self._extent(method, offset, length)
        if start > end or end > len(content):
            raise BadHeaderError("the data of an item break off")
        return content[start:end]

    def _extent(self, method: int, offset: int, length: int) -> tuple[Content, int, int]:
        """Return the content of an extent (the file or `meta`, for `idat`), and its start and end
        there. A length of 0 reaches to the end (14496-12, 8.11.3)."""
        content, start = self._file, offset
        if method == 1 and "idat" in self._top:
            content, start = self.content, self._top["idat"].start + offset
        return content, start, start + length if length else len(content)

    def locations(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield item, method, offset and length of each extent."""
        version, at, end = self._full("iloc")
        numbers = _Numbers(self.content[at:end])
        sizes = numbers.take(2)
        count = numbers.take(4 if version == 2 else 2)  # noqa: PLR2004 - version 2 has wide ids
        for _ in range(count):
            item = numbers.take(4 if version == 2 else 2)  # noqa: PLR2004
            method = numbers.take(2) & 15 if version else 0
            numbers.take(2)  # the file that it lies in: always this one
            base = numbers.take(sizes >> 4 & 15)
            extents = numbers.take(2)
            if extents > 1 and not sizes >> 8:
                raise BadHeaderError("extents of no bytes")
            for _ in range(extents):
                numbers.take(sizes & 15 if version else 0)
                offset = base + numbers.take(sizes >> 12)
                yield item, method, offset, numbers.take(sizes >> 8 & 15)


def _planes(meta: bytes, box: Box) -> tuple[int, float] | None:
    """Return the bytes of a sample, and the samples a pixel without alpha; None for any other
    box."""
    if box.kind == "av1C":  # AV1 in ISOBMFF, 2.3.3
        (flags,) = unpack("B", meta, box.start + 2)
        grey, by_x, by_y = flags & 0x10, flags & 0x08, flags & 0x04
        return 2 if flags & 0x40 else 1, 1 if grey else 1 + 2 / (
            (1 + bool(by_x)) * (1 + bool(by_y))
        )
    if box.kind == "hvcC":  # 14496-15, 8.3.3.1.2
        chroma, depth = unpack("BB", meta, box.start + 16)
        return 2 if depth & 7 else 1, (1, 1.5, 2, 3)[chroma & 3]
    return None


class _Numbers:
    """A reader of consecutive numbers of any width in bytes."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, width: int) -> int:
        found = self._content[self._at : self._at + width]
        if len(found) < width:
            raise BadHeaderError("a table breaks off")
        self._at += width
        return int.from_bytes(found)


_ORIENTATION, _SHORT = 0x0112, 3
_ORIENTATIONS = range(1, 9)
_MAX_ENTRIES = 1000


def orientation_of(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF (EXIF 2.32, 4.6.2; TIFF 6.0, section
    2). Return 1 (upright) if it is missing or invalid."""
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (directory,) = unpack(f"{order}I", tiff, 4)
    (count,) = unpack(f"{order}H", tiff, directory)
    for index in range(min(count, _MAX_ENTRIES)):
        tag, kind, _, value = unpack(f"{order}HHIH", tiff, directory + 2 + 12 * index)
        if tag == _ORIENTATION and kind == _SHORT:
            return value if value in _ORIENTATIONS else 1
    return 1
