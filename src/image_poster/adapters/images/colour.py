"""Shrink an image of any decoder to its working size, upright and in sRGB.

Colours are converted by the ICC profile, or by code points (nclx, cICP), gAMA and cHRM, also of
HDR. Without a profile, all work is done in linear light on the small image, where white is 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import pyvips

from image_poster.domain.images import Size, working_size

# The name of libvips for an embedded profile.
ICC = "icc-profile-data"
# Classes of profile that say what an image's numbers mean: of a device or a colour space. Links,
# abstract and named ones do not (ICC.1:2022, 7.2.5).
_COLOUR_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_SIDEWAYS = 5
UNSPECIFIED = 2
_RGB_BANDS = 3

Matrix = list[list[float]]
Point = tuple[float, float]  # x and y of CIE 1931


class Colour(NamedTuple):
    """Code points of ITU-T H.273, tables 2 and 3, or the values of a PNG's gAMA and cHRM.

    `gamma` is the exponent of decoding. `chromaticities` are white, red, green and blue.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    gamma: float | None = None
    chromaticities: tuple[Point, ...] | None = None


_D65, _DCI_WHITE, _WHITE_C = (0.3127, 0.3290), (0.314, 0.351), (0.310, 0.316)
# H.273, table 2: white, red, green, blue. 5 to 7 are television's, whose stills are shown as sRGB.
_SRGB = (_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_PRIMARIES = {
    4: (_WHITE_C, (0.670, 0.330), (0.210, 0.710), (0.140, 0.080)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: (_DCI_WHITE, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_PQ, _HLG, _LINEAR = 16, 18, 8
_GAMMAS = {4: 2.2, 5: 2.8}  # H.273, table 3

# ITU-R BT.2408: the white of a page, in an image that can be brighter, has 203 cd/m².
_WHITE_NITS = 203
_PQ_NITS, _HLG_NITS = 10_000, 1_000
# From where on highlights are pressed together: three quarters of white.
_KNEE = 0.75
_16_BITS = 65_535

# Bradford: the cone responses by which a white is adapted to another.
_BRADFORD: Matrix = [
    [0.8951, 0.2664, -0.1614],
    [-0.7502, 1.7135, 0.0367],
    [0.0389, -0.0685, 1.0296],
]


def is_srgb(colour: Colour | None) -> bool:
    """Return True if the pixels need no conversion to sRGB."""
    return colour is None or (
        colour.primaries not in _PRIMARIES
        and colour.transfer not in {_PQ, _HLG, _LINEAR, *_GAMMAS}
        and colour.gamma is None
        and colour.chromaticities is None
    )


class DecodedImage(NamedTuple):
    """The image upright and in sRGB, shrunk to `domain.images.working_size`, and its full size.

    `buffer` is the bytes that libvips reads together with the image, if they are in memory.
    """

    image: pyvips.Image
    source: Size
    buffer: bytes | None = None


def to_working_size(pixels: pyvips.Image, colour: Colour | None = None) -> DecodedImage:
    """Shrink a decoded image, in sRGB: by its profile if that is usable, else by code points."""
    if not is_srgb(colour) and not _to_srgb_options(pixels):
        return convert_by_code_points(pixels, colour)
    source = Size(pixels.width, pixels.height)
    return DecodedImage(make_thumbnail(pixels, working_size(source)), source)


def make_thumbnail(pixels: pyvips.Image, target: Size) -> pyvips.Image:
    """Shrink to `target`, turn upright, and convert by the profile."""
    return convert_by_profile(
        pixels,
        lambda profile: pixels.thumbnail_image(
            target.width, height=target.height, size="force", **profile
        ),
    )


def convert_by_code_points(pixels: pyvips.Image, colour: Colour | None) -> DecodedImage:
    """Shrink and convert by code points, without a profile; without code points, assume sRGB."""
    source = Size(pixels.width, pixels.height)
    return DecodedImage(
        _shrink_and_convert(pixels, working_size(source), colour or Colour()), source
    )


def turn_upright(decoded: DecodedImage, orientation: int) -> DecodedImage:
    """Turn the image upright by an EXIF orientation that the decoder ignored."""
    if orientation == 1:
        return decoded
    image = decoded.image.copy_memory()  # a turn reads in another order than it was decoded in
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return DecodedImage(image.autorot(), upright_size(decoded.source, orientation))


def upright_size(stored: Size, orientation: int) -> Size:
    """Return the size after the turn: orientations 5 to 8 lie on their side (EXIF 2.32, table
    6)."""
    return Size(stored.height, stored.width) if orientation >= _SIDEWAYS else stored


def convert_by_profile(
    header: pyvips.Image, thumbnail: Callable[[dict[str, str]], pyvips.Image]
) -> pyvips.Image:
    """Return the thumbnail in sRGB, by the embedded profile if it is usable.

    libvips reports an unusable profile before it reads a pixel. Then the image is shown as if it
    had none, as in browsers.
    """
    options = _to_srgb_options(header)
    try:
        return thumbnail(options)
    except pyvips.Error:
        if not options:
            raise
        return thumbnail({})


def _to_srgb_options(image: pyvips.Image) -> dict[str, str]:
    """Return the options that convert by the embedded profile, if there is one.

    Without a profile, the pixels are sRGB already, or libvips converts them itself (CMYK, grey).
    Naming a target would add a conversion through CIELAB, which takes longer than the decode.
    """
    if not image.get_typeof(ICC):
        return {}
    profile_class = bytes(image.get(ICC))[12:16]
    return {"export_profile": "srgb"} if profile_class in _COLOUR_CLASSES else {}


def _shrink_and_convert(pixels: pyvips.Image, size: Size, colour: Colour) -> pyvips.Image:
    """Shrink the image without conversion, then convert, so that the conversion works on few
    pixels. Takes grey or colour, of 8 or 16 bits, with or without alpha."""
    white = 65_535 if pixels.format == "ushort" else 255
    alpha = pixels[pixels.bands - 1] if pixels.hasalpha() else None
    grey = pixels[0]
    rgb = pixels[0:3] if pixels.bands >= _RGB_BANDS else grey.bandjoin([grey, grey])
    if alpha is not None:
        rgb = rgb.bandjoin(alpha).premultiply(max_alpha=white)
    small = rgb.resize(size.width / pixels.width, vscale=size.height / pixels.height)
    if alpha is not None:
        small = small.unpremultiply(max_alpha=white)
    small = small.cast(pixels.format).copy_memory()
    converted = to_srgb(small[0:3], colour)
    if alpha is None:
        return converted
    return converted.bandjoin((small[3] * (255 / white)).cast("uchar"))


def to_srgb(image: pyvips.Image, colour: Colour) -> pyvips.Image:
    """Convert an image of three bands, of 8 or 16 bits, to sRGB of 8 bits. HDR is mapped to the
    range of a standard screen (BT.2100 for the curves, BT.2408 for the level of white)."""
    deep = image if image.format == "ushort" else (image.cast("ushort") * 257).cast("ushort")
    linear = deep.maplut(_decoding_curve(colour))
    if colour.transfer == _HLG:
        linear = _to_display_light(linear)
    linear = linear.recomb(pyvips.Image.new_from_array(_to_srgb_matrix(colour)))
    if colour.transfer in (_PQ, _HLG):
        linear = _compress_highlights(linear)
    return (linear * _16_BITS).cast("ushort").maplut(_encoding_curve()).copy(interpretation="srgb")


def _identity() -> pyvips.Image:
    return pyvips.Image.identity(ushort=True, size=_16_BITS + 1) / _16_BITS


def _decoding_curve(colour: Colour) -> pyvips.Image:
    x = _identity()
    if colour.transfer == _PQ:
        return _pq(x)
    if colour.transfer == _HLG:
        return _hlg(x)
    if colour.transfer == _LINEAR:
        return x
    gamma = colour.gamma or _GAMMAS.get(colour.transfer)
    if gamma is not None:
        return x**gamma
    return (x <= 0.04045).ifthenelse(x / 12.92, ((x + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004


def _encoding_curve() -> pyvips.Image:
    x = _identity()
    curved = (x <= 0.0031308).ifthenelse(x * 12.92, x ** (1 / 2.4) * 1.055 - 0.055)  # noqa: PLR2004
    return (curved * 255 + 0.5).cast("uchar")


def _pq(x: pyvips.Image) -> pyvips.Image:
    """Decode PQ (BT.2100, table 4)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    powered = x ** (1 / m2)
    above = powered - c1
    positive = (above > 0).ifthenelse(above, 0)
    return (positive / (powered * -c3 + c2)) ** (1 / m1) * (_PQ_NITS / _WHITE_NITS)


def _hlg(x: pyvips.Image) -> pyvips.Image:
    """Decode HLG to light of the scene, 0 to 1 (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return (x <= 0.5).ifthenelse(x * x / 3, (((x - c) / a).exp() + b) / 12)  # noqa: PLR2004


def _to_display_light(scene: pyvips.Image) -> pyvips.Image:
    """Convert light of the scene to light of a screen of 1000 cd/m² (BT.2100, table 5, OOTF)."""
    luma = scene.recomb(pyvips.Image.new_from_array([[0.2627, 0.6780, 0.0593]]))
    return scene * luma**0.2 * (_HLG_NITS / _WHITE_NITS)


def _compress_highlights(linear: pyvips.Image) -> pyvips.Image:
    """Compress highlights: values up to the knee stay, and above it brightness approaches 1. Hues
    stay (Reinhard's curve, on the largest of the three)."""
    linear = linear.copy_memory()
    largest = linear[0].bandrank([linear[1], linear[2]], index=2)
    peak = largest.max()
    if peak <= 1:
        return linear
    reach = (peak - _KNEE) / (1 - _KNEE)
    over = (largest - _KNEE) / (1 - _KNEE)
    pressed = over * (over / reach**2 + 1) / (over + 1) * (1 - _KNEE) + _KNEE
    factor = (largest > _KNEE).ifthenelse(pressed / largest, 1)
    return linear * factor


def _to_srgb_matrix(colour: Colour) -> Matrix:
    white, *colours = colour.chromaticities or _PRIMARIES.get(colour.primaries, _SRGB)
    to_xyz = _multiply(_adaptation(white, _D65), _rgb_to_xyz(white, *colours))
    return _multiply(_invert(_rgb_to_xyz(*_SRGB)), to_xyz)


def _rgb_to_xyz(white: Point, *colours: Point) -> Matrix:
    """Return the matrix to XYZ, scaled so that equal parts give the white (SMPTE RP 177)."""
    matrix = [list(row) for row in zip(*map(_xyz, colours), strict=True)]
    scale = _apply(_invert(matrix), _xyz(white))
    return [[value * factor for value, factor in zip(row, scale, strict=True)] for row in matrix]


def _adaptation(source: Point, target: Point) -> Matrix:
    """Return the matrix that adapts one white to another."""
    before, after = _apply(_BRADFORD, _xyz(source)), _apply(_BRADFORD, _xyz(target))
    scaled = [[value * after[at] / before[at] for value in row] for at, row in enumerate(_BRADFORD)]
    return _multiply(_invert(_BRADFORD), scaled)


def _xyz(point: Point) -> list[float]:
    x, y = point
    return [x / y, 1.0, (1 - x - y) / y]


def _apply(matrix: Matrix, vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _multiply(left: Matrix, right: Matrix) -> Matrix:
    columns = [list(column) for column in zip(*right, strict=True)]
    return [_apply(columns, row) for row in left]


def _invert(matrix: Matrix) -> Matrix:
    inverse: Matrix = pyvips.Image.new_from_array(matrix).matrixinvert().tolist()
    return inverse
