"""A page is at most so large, whatever people write."""

import pytest

from image_poster.domain.comments import Comment, encode_comment, join_latest
from image_poster.domain.feed import _fitting_posts
from image_poster.domain.ids import new_id
from image_poster.domain.limits import FEED_PAGE_MAX, LATEST_KEPT, PAGE_MAX_BYTES, Limits
from image_poster.domain.posts import Post, PostStatus, StoredPost, encode_post, published_post
from image_poster.http.post_bodies import post_body
from support.renderer import RENDERED

LIMITS = Limits()
NOW = "2026-11-25T00:00:00.000Z"
WIDE = "\N{CAMERA}"  # 4 bytes of UTF-8
USER = WIDE * 255


def longest_post(characters: int, user: str = USER) -> StoredPost:
    """All texts as long as can be, the latest comments too."""
    post = Post(
        id=new_id(),
        status=PostStatus.PROCESSING,
        caption=WIDE * min(characters, LIMITS.caption_characters),
        alt=WIDE * min(characters, LIMITS.alt_characters),
        creator=user,
        created_at=NOW,
    )
    content = WIDE * min(characters, LIMITS.comment_characters)
    comment = encode_comment(Comment(new_id(), post.id, user, content, NOW))
    latest = join_latest([comment] * LATEST_KEPT)
    return StoredPost(post.id, 10**6, encode_post(published_post(post, RENDERED)), latest)


@pytest.mark.parametrize("characters", [10, 300, 1000, 5000])
def test_no_page_of_the_feed_is_larger(characters: int) -> None:
    posts = [longest_post(characters) for _ in range(FEED_PAGE_MAX)]
    shown = posts[: _fitting_posts(posts)]
    sent = b",".join(post_body(stored, LATEST_KEPT) for stored in shown)
    assert len(sent) < PAGE_MAX_BYTES - 1000  # and what is around them
    assert len(shown) > 1


def test_short_posts_are_as_many_as_asked_for() -> None:
    assert (
        _fitting_posts([longest_post(10, "alice") for _ in range(FEED_PAGE_MAX)]) == FEED_PAGE_MAX
    )


def test_one_post_is_shown_however_large_it_is() -> None:
    stored = StoredPost(new_id(), 0, b"x" * 2 * PAGE_MAX_BYTES, b"")
    assert _fitting_posts([stored, stored]) == 1
