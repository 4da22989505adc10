"""The part of the suite of `ImageStore` about renditions of posts that are not public."""

import pytest

from contract.ports import suite
from image_poster.domain.errors import ImageNotFoundError
from image_poster.domain.images import RENDITIONS
from image_poster.ports.images import ImageStore


@pytest.mark.anyio
class WithheldRenditionsSuite(suite.ImageStoreSuite):
    """Needs the fixture `images`. `is_public` tells whether the public place has a rendition."""

    async def is_public(self, images: ImageStore, post_id: str, name: str) -> bool:
        raise NotImplementedError

    async def public(self, images: ImageStore, post_id: str) -> list[bool]:
        return [await self.is_public(images, post_id, name) for name in RENDITIONS]

    async def withheld(self, images: ImageStore, reader: suite.Reader, post_id: str) -> list[bytes]:
        files = [await images.open_withheld(post_id, name) for name in RENDITIONS]
        return [await reader.content(file) for file in files]

    async def publish_again(self, images: ImageStore, post_id: str, *, withheld: bool) -> None:
        async with images.workspace(post_id) as work:
            for name in RENDITIONS:
                (work.folder / f"{name}.jpg").write_bytes(b"again")
            await images.publish(post_id, work, withheld=withheld)

    async def test_withheld_renditions_are_not_public_and_come_back_the_same(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        post_id, contents = await self.published(images), [name.encode() for name in RENDITIONS]
        assert await self.public(images, post_id) == [True, True]
        await images.withhold(post_id)
        assert await self.public(images, post_id) == [False, False]
        assert await self.withheld(images, reader, post_id) == contents
        await images.expose(post_id)
        assert await self.public(images, post_id) == [True, True]
        assert [await reader.rendition(images, post_id, name) for name in RENDITIONS] == contents

    async def test_withholding_and_exposing_can_be_repeated(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        post_id = await self.published(images)
        for _ in range(2):
            await images.withhold(post_id)
        assert await self.withheld(images, reader, post_id) == [b"600", b"1600"]
        for _ in range(2):
            await images.expose(post_id)
        assert await self.public(images, post_id) == [True, True]

    async def test_a_post_without_renditions_can_be_withheld_and_exposed(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        post_id = await self.stored(images)
        await images.withhold(post_id)
        await images.expose(post_id)
        with pytest.raises(ImageNotFoundError):
            await reader.content(await images.open_withheld(post_id, "600"))

    async def test_renditions_can_be_published_withheld(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        post_id = await self.stored(images)
        await self.publish_again(images, post_id, withheld=True)
        assert await self.public(images, post_id) == [False, False]
        assert await self.withheld(images, reader, post_id) == [b"again"] * 2

    async def test_image_work_that_is_repeated_leaves_renditions_in_its_last_place_only(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        """A crash came before the row was written, and the list of blocked images has changed."""
        post_id = await self.published(images)
        await self.publish_again(images, post_id, withheld=True)
        assert await self.public(images, post_id) == [False, False]
        await self.publish_again(images, post_id, withheld=False)
        assert await self.public(images, post_id) == [True, True]
        await images.withhold(post_id)
        assert await self.withheld(images, reader, post_id) == [b"again"] * 2

    async def test_renditions_that_are_not_moved_yet_are_found_in_the_other_place(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        post_id = await self.published(images)
        assert await self.withheld(images, reader, post_id) == [b"600", b"1600"]

    async def test_removing_deletes_withheld_renditions(
        self, images: ImageStore, reader: suite.Reader
    ) -> None:
        post_id = await self.published(images)
        await images.withhold(post_id)
        await images.remove(post_id)
        with pytest.raises(ImageNotFoundError):
            await reader.content(await images.open_withheld(post_id, "1600"))
