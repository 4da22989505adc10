"""Colours that a file says in its own way come out as sRGB, and none is a reason to fail."""

from collections.abc import Iterator

import pytest

from support import samples
from support.rendered import colour, near, render
from support.samples import CORNERS, corner_colours, looks_like

_P3_RED = (200, 80, 80)  # in sRGB; the same numbers as Display P3 are a stronger red


def display_p3() -> bytes:
    """A profile that is clearly not sRGB, as libvips ships it."""
    converted = samples.flat(_P3_RED).icc_transform("p3", input_profile="srgb")
    return bytes(converted.get("icc-profile-data"))


def changed(profile: bytes, at: int, by: bytes) -> bytes:
    return profile[:at] + by + profile[at + len(by) :]


def unusable_profiles() -> Iterator[tuple[str, bytes]]:
    """By what is wrong; the places are those of ICC.1:2022, table 17."""
    good = display_p3()
    for profile_class in (b"nmcl", b"link", b"abst", b"xxxx"):
        yield f"class {profile_class.decode()}", changed(good, 12, profile_class)
    for space in (b"CMYK", b"GRAY"):
        yield f"colours in {space.decode()}", changed(good, 16, space)
    yield "an unknown connection space", changed(good, 20, b"Luv ")
    yield "tags of noise", changed(good, 132, b"\xff" * (len(good) - 132))
    yield "tags of nothing", changed(good, 250, bytes(len(good) - 250))
    yield "cut", good[:300]
    yield "no profile at all", b"no profile at all"


ENCODED = {
    "jpeg": lambda profile: samples.encoded(samples.corners(), icc_profile=profile),
    "png": lambda profile: samples.encoded(samples.corners(), "PNG", icc_profile=profile),
    "webp": lambda profile: samples.encoded(samples.corners(), "WEBP", icc_profile=profile),
    "heic": lambda profile: samples.heic(icc_profile=profile),
}


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("wrong", [name for name, _ in unusable_profiles()])
def test_a_profile_that_cannot_be_used_is_left_out(kind: str, wrong: str) -> None:
    profile = dict(unusable_profiles())[wrong]
    corners = corner_colours(render(ENCODED[kind](profile)).small)
    assert looks_like(corners, CORNERS)
    assert all(near(corner, other, by=16) for corner, other in zip(corners, CORNERS, strict=True))


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("illuminant", [None, bytes(12), b"\x7f" * 12])
def test_a_profile_is_used_whatever_illuminant_it_claims(
    kind: str, illuminant: bytes | None
) -> None:
    """The header's illuminant is D50 by definition, so a wrong one changes no colour."""
    profile = display_p3() if illuminant is None else changed(display_p3(), 68, illuminant)
    red = corner_colours(render(ENCODED[kind](profile)).small)[0]
    assert near(red, (240, 0, 1), by=8)


def test_a_good_profile_is_converted_in_a_grey_image_too() -> None:
    grey = samples.encoded(samples.corners().convert("L"), icc_profile=display_p3())
    corners = corner_colours(render(grey).small)
    assert all(max(corner) - min(corner) <= 4 for corner in corners)


def test_cmyk_with_a_profile_that_cannot_be_used_is_shown_as_cmyk_without() -> None:
    from PIL import Image

    red = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    plain, profiled = samples.encoded(red), samples.encoded(red, icc_profile=b"none" * 40)
    assert near(colour(render(profiled)), colour(render(plain)), by=2)
