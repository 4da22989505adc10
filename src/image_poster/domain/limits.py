"""What is taken: sizes in bytes, pictures in pixels, texts in characters. GET /limits shows it."""

import msgspec

MEBIBYTE = 1024 * 1024

FEED_PAGE_DEFAULT = 10
FEED_PAGE_MAX = 100
LATEST_DEFAULT = 2
LATEST_KEPT = 10
WAIT_MAX_SECONDS = 20
UPLOAD_KEPT_MS = 24 * 3600 * 1000
UPLOAD_PIECE_BYTES = 512 * 1024


class Limits(msgspec.Struct, frozen=True):
    """The settings of one running service; the defaults are the contract's. `multipart_bytes` and
    `piece_bytes` are what one request may carry, where that is less than a picture may have."""

    image_bytes: int = 100_000_000
    image_pixels: int = 100_000_000
    caption_characters: int = 5_000
    alt_characters: int = 1_500
    comment_characters: int = 2_000
    latest_kept: int = LATEST_KEPT
    multipart_bytes: int | None = None
    piece_bytes: int | None = None
