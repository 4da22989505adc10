"""The fork server of images, whose children compute no perceptual hash: to measure what that costs
in a child as it is in production."""

from image_poster.adapters.images import fork_server, pipeline
from image_poster.domain.images import HASH_DIGITS, ImageHash, Size


def no_hash(pixels: memoryview, size: Size) -> ImageHash:  # noqa: ARG001 - as `hash_pixels`
    """The hash of an image without detail."""
    return ImageHash("0" * HASH_DIGITS, 0)


if __name__ == "__main__":
    pipeline.hash_pixels = no_hash
    fork_server.start(pipeline.work)
