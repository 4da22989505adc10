"""Convert the first frame of an image sequence (ISO/IEC 23008-12, 7) to a still image.

The decoders here support still images only. An independent frame is coded like a still image, so it
gets the boxes of one.
"""

import struct

from image_poster.adapters.images.header_facts import BadHeaderError, Content, unpack
from image_poster.adapters.images.isobmff_boxes import Box, boxes, make_box, make_full_box

# What a sample entry is called, by the item that has the same pixels; and their configurations.
_ITEMS = {"hvc1": b"hvc1", "hev1": b"hvc1", "av01": b"av01"}
_KEPT = {"hvcC", "av1C", "colr"}
_BRANDS = {b"hvc1": b"heic", b"av01": b"avif"}
_HANDLERS = {b"pict", b"vide"}
_ENTRY_BYTES = 78  # VisualSampleEntry, before its boxes (14496-12, 12.1.3)
_MAX_FRAME_BYTES = 100_000_000


def first_image_of(content: Content) -> bytes:
    """Return a file of one image. Raises `BadHeaderError` if there is no frame."""
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
    kept = [
        content[box.start - 8 : box.end]
        for box in boxes(content, entry.start + _ENTRY_BYTES, entry.end)
        if box.kind in _KEPT
    ]
    frame = _first_frame(content, table)
    return _file(_ITEMS[entry.kind], width, height, kept, frame)


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


def _file(item: bytes, width: int, height: int, kept: list[bytes], frame: bytes) -> bytes:
    brand = _BRANDS[item]
    start = make_box(b"ftyp", brand, bytes(4), brand, b"mif1")
    # The place of the frame has the same width whatever it is: once to measure, once to say.
    before = len(start) + len(_meta(item, width, height, kept, 0, len(frame))) + 8
    meta = _meta(item, width, height, kept, before, len(frame))
    return start + meta + make_box(b"mdat", frame)


def _meta(
    item: bytes, width: int, height: int, kept: list[bytes], offset: int, length: int
) -> bytes:
    numbers = bytes(range(1, len(kept) + 2))  # of the properties that the item has: all
    return make_full_box(
        b"meta",
        make_full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        make_full_box(b"pitm", b"\0\1"),
        make_full_box(b"iloc", b"\x44\0\0\1\0\1\0\0\0\1", struct.pack(">II", offset, length)),
        make_full_box(b"iinf", b"\0\1", make_box(b"infe", b"\2\0\0\0\0\1\0\0", item, b"\0")),
        make_box(
            b"iprp",
            make_box(b"ipco", make_full_box(b"ispe", struct.pack(">II", width, height)), *kept),
            make_full_box(b"ipma", b"\0\0\0\1\0\1", bytes([len(numbers)]), numbers),
        ),
    )
