"""The list of all problem codes."""

from image_poster.domain.errors import ImagePosterError


def answer_types() -> list[type[ImagePosterError]]:
    """All errors with a code of their own, in the order of the table above."""
    found: list[type[ImagePosterError]] = []
    pending: list[type[ImagePosterError]] = [ImagePosterError]
    while pending:
        current = pending.pop(0)
        pending = current.__subclasses__() + pending
        if "code" in vars(current) and current is not ImagePosterError:
            found.append(current)
    return found
