"""The size that an image is coded with, by its coded data: HEVC (ITU-T H.265, 7.3.2.2) and AV1 (AV1
Bitstream & Decoding Process, 5.5)."""

from image_poster.adapters.vips.header_facts import BadHeaderError, unpack

_PARAMETER_SET = 33
_MAX_PARAMETER_SET_BYTES = 1000
_BEFORE_SUB_LAYERS, _PROFILE_BITS, _LEVEL_BITS = 16 + 4, 88, 8
# How much of an item's data has the sequence header of AV1.
SEQUENCE_HEADER_BYTES = 300
_444 = 3
_SEQUENCE_HEADER, _MAX_UNITS, _MAX_LEVEL_WITHOUT_TIER = 1, 10, 7
_MAX_NUMBER_BITS = 32
# How many columns and rows of pixels a sample of colour has, by chroma format (table 6-1).
_SUBSAMPLING = ((1, 1), (2, 2), (2, 1), (1, 1))


def hevc_size(configuration: bytes) -> tuple[int, int]:
    """Width and height after the conformance window, by the box `hvcC` (14496-15, 8.3.3.1.2).
    Raises `BadHeaderError`."""
    at = 23
    for _ in range(unpack("B", configuration, 22)[0]):
        kind, count = unpack(">BH", configuration, at)
        at += 3
        for _ in range(count):
            (length,) = unpack(">H", configuration, at)
            if kind & 0x3F == _PARAMETER_SET:
                return _hevc_size(configuration[at + 2 : at + 2 + length])
            at += 2 + length
    raise BadHeaderError("no sequence parameter set")


def _hevc_size(parameter_set: bytes) -> tuple[int, int]:
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
    bits.take(1 if chroma == _444 else 0)
    width, height = bits.take_number(), bits.take_number()
    across, down = _SUBSAMPLING[chroma]
    if bits.take(1):
        left, right, top, bottom = (bits.take_number() for _ in range(4))
        width, height = width - across * (left + right), height - down * (top + bottom)
    if width < 1 or height < 1:
        raise BadHeaderError("a side of the coded image is 0")
    return width, height


def av1_size(data: bytes) -> tuple[int, int]:
    """Width and height by the sequence header, near the start of an item's data. Raises
    `BadHeaderError`."""
    at = 0
    for _ in range(_MAX_UNITS):
        (head,) = unpack("B", data, at)
        at += 2 if head & 0x04 else 1
        length, at = _leb128(data, at) if head & 0x02 else (len(data), at)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _av1_size(data[at : at + min(length, _MAX_PARAMETER_SET_BYTES)])
        at += length
    raise BadHeaderError("no sequence header")


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to eight bytes, and the place behind it (AV1, 4.10.5)."""
    number = 0
    for shift in range(0, 56, 7):
        (byte,) = unpack("B", data, at)
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            break
    return number, at


def _av1_size(header: bytes) -> tuple[int, int]:
    bits = _Bits(header)
    bits.take(3 + 1)
    if bits.take(1):  # the short header of a still
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: "_Bits") -> None:
    delay_bits = 0
    if bits.take(1):
        bits.take(32 + 32)
        if bits.take(1):
            bits.take_number()
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    is_delayed = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > _MAX_LEVEL_WITHOUT_TIER:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if is_delayed and bits.take(1):
            bits.take(4)


class _Bits:
    """Numbers of bits, the highest first."""

    def __init__(self, content: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in content)
        self._at = 0

    def take(self, count: int) -> int:
        self._at += count
        if self._at > len(self._bits):
            raise BadHeaderError("a parameter set breaks off")
        return int(self._bits[self._at - count : self._at] or "0", 2)

    def take_number(self) -> int:
        """By the exponential Golomb code (H.265, 9.2)."""
        zeros = self._bits.find("1", self._at) - self._at
        if not 0 <= zeros <= _MAX_NUMBER_BITS:
            raise BadHeaderError("a parameter set breaks off")
        self.take(zeros)
        return self.take(zeros + 1) - 1
