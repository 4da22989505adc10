"""What only some installations have: `pip install 'image-poster-api[server]'`, or `[aws]`."""

from collections.abc import Iterator
from contextlib import contextmanager

from image_poster.editions.errors import StartError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """For imports of what works with the libraries of an extra. Raises `StartError`, which says
    what to install, if one of those libraries is not there."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "image_poster":
            raise  # a mistake of ours, which no installation mends
        raise StartError(
            f"this command needs more than a client: pip install 'image-poster-api[{extra}]'"
        ) from exc
