"""Uploads that may have been abandoned."""

from typing import Protocol

from image_poster.tus.decisions import Upload


class AwaitingUploads(Protocol):
    """For stores that do not expire anything by themselves."""

    async def all(self) -> list[tuple[str, Upload]]:
        """The uploads whose posts are `awaiting_upload`, by id."""
        ...
