"""HEIC and AVIF (ISO/IEC 23008-12): facts from the header, and decoders beside libvips.

pillow-heif decodes HEIC, and Pillow's libavif the AVIF for which libvips would need too much
memory. libvips gets the pixels unchanged.
"""

from functools import cache

import pillow_heif
import pyvips
from PIL import _avif

from image_poster.adapters.images.colour import (
    ICC,
    Colour,
    DecodedImage,
    to_working_size,
    turn_upright,
)
from image_poster.adapters.images.header import (
    Admission,
    BadHeaderError,
    Coding,
    Content,
    HeaderFacts,
    file_size,
    open_file,
    unpack,
    unsupported,
)
from image_poster.adapters.images.heif_rebuild import first_frame_as_still
from image_poster.adapters.images.isobmff import Box, MetaBox, find_meta
from image_poster.domain.images import ImageFormat

_STILL_BRANDS = {
    "hvc1": (b"heic", {b"heic", b"heix", b"heim", b"heis"}),
    "av01": (b"avif", {b"avif", b"avis"}),
}
_MAX_FTYP_BYTES = 256
_MAX_EXIF_BYTES = 1_000_000
_MAX_DERIVED = 3  # an overlay of grids of tiles
_CODECS = {"hvc1", "av01"}
_NO_DATA = bytes(4)
# Codings that HEIF allows and that no decoder here has (23008-12, annexes; and their own parts).
_OTHER_CODECS = {
    "jpeg": "JPEG", "j2k1": "JPEG 2000", "vvc1": "VVC", "evc1": "EVC", "avc1": "AVC",
    "unci": "uncompressed pixels",
}  # fmt: skip


def read_heif(content: Content) -> HeaderFacts:
    """Read the primary item, or the first frame of a sequence without one. Raises `BadHeaderError`,
    and `ImageRejectedError` for other codecs."""
    meta = find_meta(content)
    if meta is None:
        still = first_frame_as_still(content)
        return read_heif(still)._replace(stand_in=still)
    facts = _facts(meta)
    return facts._replace(stand_in=_rebrand(content, facts.coding))


def _rebrand(content: Content, coding: Coding | None) -> bytes | None:
    """Return the file with the brand of its coding only; None if that is not needed or not
    possible. Decoders do not recognise all brands as a still image: `mif1` only means HEIF, and
    `msf1` a sequence (23008-12, 10)."""
    (size,) = unpack(">I", content)
    if coding is None or size > _MAX_FTYP_BYTES:
        return None
    brand, known = _STILL_BRANDS[coding.codec]
    brands = {content[at : at + 4] for at in (8, *range(16, size, 4))}
    if content[8:12] in known or (content[8:12] == b"mif1" and brands & known):
        return None
    changed = bytearray(content[: len(content)])
    for at in (8, *range(16, size, 4)):
        changed[at : at + 4] = brand
    return bytes(changed)


def _facts(meta: MetaBox) -> HeaderFacts:
    primary = meta.primary
    kind = meta.kinds.get(primary, "")
    if kind in _OTHER_CODECS:
        raise unsupported(f"a HEIF image coded as {_OTHER_CODECS[kind]}")
    properties = {box.kind for box in meta.properties.get(primary, [])}
    # What turns in the file wins over EXIF, and decoders apply it (23008-12, 6.5.10).
    is_turned = bool(properties & {"irot", "imir"})
    return HeaderFacts(
        size=None if "clap" in properties else meta.dimensions(primary),
        exif_orientation=1 if is_turned else _exif_orientation(meta),
        colour=_colour(meta),
        coding=_coding(meta, is_cropped="clap" in properties),
        lacks_tile=_lacks_tile(meta),
    )


def _colour(meta: MetaBox) -> Colour | None:
    """Return the colours by code points (nclx; 14496-12, 12.1.5)."""
    for box in meta.properties.get(meta.primary, []):
        if meta.content[box.start : box.start + 4] == b"nclx" and box.kind == "colr":
            primaries, transfer = unpack(">HH", meta.content, box.start + 4)
            return Colour(primaries, transfer)
    return None


def _lacks_tile(meta: MetaBox) -> bool:
    """Return True if the data of an HEVC part begin with zeros, which no NAL unit does (14496-15,
    4.3). Then a transfer reserved space for the data, and did not fill it."""
    parts = {meta.primary, *meta.references.get((meta.primary, "dimg"), [])}
    try:
        return any(
            meta.data(extent, len(_NO_DATA)) == _NO_DATA
            for item, extent in meta.extents()
            if item in parts and meta.kinds.get(item) == "hvc1"
        )
    except BadHeaderError:
        return False  # decoders notice


def _coding(meta: MetaBox, *, is_cropped: bool) -> Coding | None:
    """Return the coding of the pixels, by the first item that they come from; None if it has
    none."""
    kind = meta.kinds.get(meta.primary, "")
    parts = meta.references.get((meta.primary, "dimg"), [])
    first = meta.primary if kind in _CODECS else next(iter(parts), meta.primary)
    codec = meta.kinds.get(first, "")
    if codec not in _CODECS:
        return None
    planes = next(
        filter(None, (_planes(meta, box) for box in meta.properties.get(first, []))), None
    )
    if planes is None:
        return None
    sample_bytes, samples = planes
    alpha = any(kind == "auxl" for _, kind in meta.references)
    return Coding(
        codec=codec,
        planes_bytes=(samples + alpha) * sample_bytes,
        sample_bytes=sample_bytes,
        coded_pixels=_coded_pixels(meta),
        tiles=bool(parts),
        is_plain=kind in {*_CODECS, "grid"} and not is_cropped,
    )


def _planes(meta: MetaBox, box: Box) -> tuple[int, float] | None:
    """Return the bytes of a sample, and the samples a pixel without alpha; None for any other
    box."""
    if box.kind == "av1C":  # AV1 in ISOBMFF, 2.3.3
        (flags,) = unpack("B", meta.content, box.start + 2)
        is_grey, by_x, by_y = flags & 0x10, bool(flags & 0x08), bool(flags & 0x04)
        samples = 1 if is_grey else 1 + 2 / ((1 + by_x) * (1 + by_y))
        return 2 if flags & 0x40 else 1, samples
    if box.kind == "hvcC":  # 14496-15, 8.3.3.1.2
        chroma, depth = unpack("BB", meta.content, box.start + 16)
        return 2 if depth & 7 else 1, (1, 1.5, 2, 3)[chroma & 3]
    return None


def _coded_pixels(meta: MetaBox) -> int:
    """Count the pixels of the primary item, or of all its parts; repeated parts count again."""

    @cache
    def count(item: int, depth: int) -> int:
        if meta.kinds.get(item) in _CODECS or depth == _MAX_DERIVED:
            width, height = meta.dimensions(item) or (0, 0)
            return width * height
        return sum(count(part, depth + 1) for part in meta.references.get((item, "dimg"), []))

    return count(meta.primary, 0)


def _exif_orientation(meta: MetaBox) -> int:
    """Return the orientation in the EXIF that describes the primary item; 1 if there is none."""
    for (source, kind), described in meta.references.items():
        if kind == "cdsc" and meta.primary in described and meta.kinds.get(source) == "Exif":
            extents = (extent for item, extent in meta.extents() if item == source)
            extent = next(extents, None)
            exif = meta.data(extent, _MAX_EXIF_BYTES) if extent else b""
            try:
                # Four bytes say where the TIFF header is (23008-12, A.2.1).
                return orientation_of(exif[4 + unpack(">I", exif)[0] :])
            except BadHeaderError:
                return 1
    return 1


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


# --- Decoders ---

# What the header does not declare is assumed: 12 bits, no subsampling, alpha.
_WORST = Coding("", planes_bytes=8, sample_bytes=2)
# Deep images up to this size are left to libvips, which keeps all their bits.
_MAX_DEEP_PIXELS = 16_000_000
_MAX_LIBAVIF_SIDE = 32_768  # AVIF_DEFAULT_IMAGE_DIMENSION_LIMIT


# Bands of a pillow-heif mode, before its depth.
_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I": 1}


def decode_heic(descriptor: int, admission: Admission, facts: HeaderFacts) -> DecodedImage:
    """Decode a HEIC. Raises `ImageRejectedError`, `BadHeaderError`, and the errors of decoders."""
    if facts.lacks_tile:
        raise BadHeaderError("a tile has no data")  # the decoder would leave it green
    pixels = _open_with_pillow_heif(descriptor, admission, facts)
    return turn_upright(to_working_size(pixels, facts.colour), facts.exif_orientation)


def _open_with_pillow_heif(
    descriptor: int, admission: Admission, facts: HeaderFacts
) -> pyvips.Image:
    """Decode with all bits: pillow-heif's conversion to 8 bits loses grey images. It turns the
    image upright by the file's own transforms."""
    # A rebuilt file has no item that is not needed: their number is bounded by the pixels.
    pillow_heif.options.DISABLE_SECURITY_LIMITS = facts.is_rebuilt
    with open_file(descriptor, facts.stand_in) as file:
        heif = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
        if not len(heif) or 0 in heif.size:
            raise BadHeaderError("no item is an image that has pixels")
        width, height = heif.size
        bands, is_deep = _BANDS[heif.mode.partition(";")[0]], ";16" in heif.mode
        pixel_bytes = bands * (1 + is_deep)
        planes_bytes = (facts.coding or _WORST).planes_bytes
        file_bytes = 2 * file_size(descriptor) + facts.stand_in_bytes
        estimate = facts.estimate(width, height, 0, pixel_bytes + 2 * planes_bytes, file_bytes)
        admission.admit(ImageFormat.HEIC, estimate)
        # Rows are padded: an image of all that is there, cut to what is meant.
        across = heif.stride // pixel_bytes
        padded = pyvips.Image.new_from_memory(
            heif.data, across, height, bands, "ushort" if is_deep else "uchar"
        )
    interpretations = ("grey16", "rgb16") if is_deep else ("b-w", "srgb")
    pixels = padded.crop(0, 0, width, height).copy(interpretation=interpretations[bands > 2])  # noqa: PLR2004
    return _attach_profile(pixels, heif.info.get("icc_profile"))


def decode_avif(
    header: pyvips.Image, descriptor: int, admission: Admission, facts: HeaderFacts
) -> DecodedImage:
    """Decode an AVIF whose header libvips has read. Raises `ImageRejectedError`."""
    if _is_for_libavif(header.width, header.height, facts.coding):
        opened = _open_with_libavif(descriptor, admission, facts)
        if opened is not None:
            pixels, orientation = opened
            return turn_upright(to_working_size(pixels, facts.colour), orientation)
    # libheif in libvips has several copies, as measured.
    coding = facts.coding or _WORST
    row_bytes, pixel_bytes = header.bands * coding.sample_bytes, 13 + 2 * coding.planes_bytes
    estimate = facts.estimate(
        header.width, header.height, row_bytes, pixel_bytes, facts.stand_in_bytes
    )
    admission.admit(ImageFormat.AVIF, estimate)
    # `thumbnail_source` would not know the brand of an animation, and here saves nothing.
    upright = turn_upright(to_working_size(header, facts.colour), facts.exif_orientation)
    return upright._replace(buffer=facts.stand_in)


def _is_for_libavif(width: int, height: int, coding: Coding | None) -> bool:
    """Return True if libavif decodes the image. It takes half of the memory and time of libheif in
    libvips, but gives 8 bits only. In a grid, libheif would leave a damaged tile empty."""
    if coding is None or not coding.is_plain or max(width, height) > _MAX_LIBAVIF_SIDE:
        return False
    return coding.tiles or coding.sample_bytes == 1 or width * height > _MAX_DEEP_PIXELS


def _open_with_libavif(
    descriptor: int, admission: Admission, facts: HeaderFacts
) -> tuple[pyvips.Image, int] | None:
    """Decode with the libavif in Pillow; return the pixels without rotation, and their orientation.
    Return None if libavif cannot read the header, which libheif may. Raises
    `ImageRejectedError`."""
    coding = facts.coding or _WORST
    try:
        with open_file(descriptor, facts.stand_in) as file:
            # Not as an image of Pillow's, which would be one more copy.
            decoder = _avif.AvifDecoder(file.read(), "auto", 1)
    except (SyntaxError, ValueError):
        return None
    (width, height), _, mode, profile, _, orientation, _ = decoder.get_info()
    bands = len(mode)
    # The planes (of tiles: twice), the pixels, and their copy for Python.
    pixel_bytes = coding.planes_bytes * (2 if coding.tiles else 1) + 2 * bands
    file_bytes = 2 * file_size(descriptor) + facts.stand_in_bytes
    estimate = facts.estimate(width, height, 0, pixel_bytes, file_bytes)
    admission.admit(ImageFormat.AVIF, estimate)
    content, *_ = decoder.get_frame(0)
    pixels = pyvips.Image.new_from_memory(content, width, height, bands, "uchar")
    image = _attach_profile(pixels.copy(interpretation="srgb"), profile)
    # The file's own transforms win over EXIF.
    return image, orientation if orientation != 1 else facts.exif_orientation


def _attach_profile(pixels: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    if profile:
        pixels.set_type(pyvips.GValue.blob_type, ICC, profile)
    return pixels
