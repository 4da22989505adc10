"""Image work itself."""

from typing import Protocol

from image_poster.domain.images import RenderedImage
from image_poster.ports.picture_store import Workspace


class ImageRenderer(Protocol):
    """Makes the renditions of one picture, from one decode."""

    async def render(self, work: Workspace) -> RenderedImage:
        """Write `600.jpg` and `1600.jpg` into the workspace's folder: upright, sRGB, no metadata.

        Raises `ImageRejectedError` for a picture that cannot be shown, `ImageWorkFailedError` for
        anything that is not the picture's fault. However bad the picture, the caller survives.
        """
        ...
