"""Images are compared with blocked ones, and reviewed, before they are published."""

import pytest

from fakes.clock import ManualClock
from image_poster.domain.block_lists import HashList
from image_poster.domain.images import RenderedImage
from image_poster.domain.moderation import Action, EntryKind, Match
from image_poster.domain.posts import IMAGE_BLOCKED, PostStatus
from image_poster.services.review import BlockedImages, ReviewMode, Screening
from support.renderer import RENDERED

pytestmark = pytest.mark.anyio
HASH = "0f" * 32


def flipped(bits: int) -> str:
    """`HASH` with so many other bits."""
    return f"{int(HASH, 16) ^ (1 << bits) - 1:064x}"


def image(digits: str = HASH, quality: int = 50) -> RenderedImage:
    return RenderedImage(RENDERED.small, RENDERED.large, RENDERED.placeholder, digits, quality)


class Blocked:
    """The hash that a decision blocked, or none."""

    def __init__(self, digits: str = "") -> None:
        self.digits = digits

    async def nearest(self, image_hash: str) -> tuple[str, int] | None:
        if not self.digits:
            return None
        return "a decision", (int(image_hash, 16) ^ int(self.digits, 16)).bit_count()


def matcher(listed: str = "", decided: str = "") -> BlockedImages:
    hashes = HashList([(17, listed)] if listed else [])
    return BlockedImages(lambda: hashes, Blocked(decided))


@pytest.mark.parametrize(
    ("listed", "decided", "match"),
    [
        ("", "", None),
        (flipped(31), "", Match(line=17)),
        (flipped(32), "", None),
        ("", flipped(31), Match(decision="a decision")),
        ("", flipped(32), None),
        (flipped(10), flipped(9), Match(decision="a decision")),
        (flipped(9), flipped(10), Match(line=17)),
        (flipped(9), flipped(9), Match(line=17)),
        (flipped(32), flipped(31), Match(decision="a decision")),
    ],
)
async def test_the_nearest_blocked_image_within_31_bits_matches(
    listed: str, decided: str, match: Match | None
) -> None:
    assert await matcher(listed, decided).match(image()) == match


@pytest.mark.parametrize(("digits", "quality"), [("", 100), (HASH, 49)])
async def test_an_image_without_a_good_hash_matches_nothing(digits: str, quality: int) -> None:
    assert await matcher(HASH, HASH).match(image(digits, quality)) is None


async def test_a_blocked_image_is_rejected_also_where_admins_review_all() -> None:
    for review in (ReviewMode.OFF, ReviewMode.ALL):
        result = await Screening(matcher(HASH), ManualClock(), review).screen(image())
        assert (result.status, result.failure) == (PostStatus.FAILED, IMAGE_BLOCKED)
        assert result.decision is not None
        assert (result.decision.action, result.decision.by) == (Action.REJECT, "service")
        assert result.entry is not None
        assert (result.entry.kind, result.entry.match) == (EntryKind.MATCH, Match(line=17))


@pytest.mark.parametrize(
    ("review", "status"),
    [(ReviewMode.OFF, PostStatus.READY), (ReviewMode.ALL, PostStatus.IN_REVIEW)],
)
async def test_another_image_is_published_or_reviewed(
    review: ReviewMode, status: PostStatus
) -> None:
    result = await Screening(matcher(HASH), ManualClock(), review).screen(image(flipped(100)))
    assert (result.status, result.failure, result.decision) == (status, None, None)
    kinds = [result.entry.kind] if result.entry else []
    assert kinds == ([EntryKind.REVIEW] if review is ReviewMode.ALL else [])
