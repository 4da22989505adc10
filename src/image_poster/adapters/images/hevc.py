"""The size in pixels of a coded HEVC image (ITU-T H.265, 7.3.2.2)."""

from image_poster.adapters.images.header_facts import BadHeaderError, unpack

_PARAMETER_SET = 33
_MAX_PARAMETER_SET_BYTES = 1000
_BEFORE_SUB_LAYERS, _PROFILE_BITS, _LEVEL_BITS = 16 + 4, 88, 8
_444 = 3
_MAX_NUMBER_BITS = 32
# How many columns and rows of pixels a sample of colour has, by chroma format (table 6-1).
_SUBSAMPLING = ((1, 1), (2, 2), (2, 1), (1, 1))


def coded_size(configuration: bytes) -> tuple[int, int]:
    """Return width and height after the conformance window, by the box `hvcC` (14496-15,
    8.3.3.1.2). Raises `BadHeaderError`."""
    at = 23
    for _ in range(unpack("B", configuration, 22)[0]):
        kind, count = unpack(">BH", configuration, at)
        at += 3
        for _ in range(count):
            (length,) = unpack(">H", configuration, at)
            if kind & 0x3F == _PARAMETER_SET:
                return _size_by(configuration[at + 2 : at + 2 + length])
            at += 2 + length
    raise BadHeaderError("no sequence parameter set")


def _size_by(parameter_set: bytes) -> tuple[int, int]:
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
