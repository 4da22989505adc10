"""Image work without images."""

from collections.abc import Awaitable, Callable

from image_poster.domain.images import RENDITIONS, RenderedImage, Size
from image_poster.ports.images import Workspace

RENDERED = RenderedImage(Size(600, 600), Size(1600, 1067), "U0hash")


async def noop() -> None:
    """The image takes no time."""


class FakeRenderer:
    """Does as told: raises what it is given, in turn, then renders."""

    def __init__(self) -> None:
        self.troubles: list[BaseException] = []
        self.before_answer: Callable[[], None] = lambda: None
        self.during: Callable[[], Awaitable[object]] = noop
        self.rendered = 0

    async def render(self, work: Workspace) -> RenderedImage:
        if self.troubles:
            raise self.troubles.pop(0)
        for name in RENDITIONS:
            (work.folder / f"{name}.jpg").write_bytes(b"jpeg")
        await self.during()
        self.before_answer()
        self.rendered += 1
        return RENDERED
