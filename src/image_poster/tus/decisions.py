"""What to do: everything that depends on an upload's state is decided here, and only here."""

from image_poster.domain import errors
from image_poster.domain.uploads import Upload


def check_new_length(length: int | None, longest: int) -> None:
    """Creation, POST: a length over Tus-Max-Size MUST be answered with 413."""
    if length is not None and length > longest:
        raise errors.UploadTooLargeError
    if length == 0:
        raise errors.InvalidTusRequestError("Upload-Length must be at least 1: an image has bytes.")


def length_to_declare(
    upload: Upload, declared: int | None, offset: int, longest: int
) -> int | None:
    """The length that a PATCH declares for a deferred upload; None if there is nothing to do.

    Creation: once set, the length MUST NOT change, and it cannot be under what is there.
    """
    if declared is None or declared == upload.length:
        return None
    if upload.length is not None or declared < offset:
        raise errors.InvalidTusRequestError("Upload-Length cannot be changed.")
    check_new_length(declared, longest)
    return declared


def bytes_allowed(
    upload: Upload, at: int, asked: int, declared_bytes: int | None, longest: int
) -> int:
    """How many bytes a PATCH may bring, when the upload is `at` an offset and the request `asked`
    for one.

    Core, PATCH: if the offsets differ, 409 without changing anything. A body that is declared to
    be longer than what is left is refused before it is read.
    """
    if asked != at:
        raise errors.OffsetMismatchError
    left = (longest if upload.length is None else upload.length) - at
    check_fits(upload, left, declared_bytes or 0)
    return left


def check_fits(upload: Upload, left: int, come: int) -> None:
    """`come` more bytes must not be more than are `left`; raises `UploadTooLargeError`, which says
    if that is by the length that was announced."""
    if come <= left:
        return
    if upload.length is None:
        raise errors.UploadTooLargeError
    raise errors.UploadTooLargeError(
        f"More bytes came than the {upload.length} that were announced. Reserve the image anew, "
        "with its size."
    )


def repeats_the_end(upload: Upload, at: int, asked: int | None, declared_bytes: int | None) -> bool:
    """Whether a PATCH, to a complete upload, brings just what completed it: its answer was lost.

    Beyond the protocol, which has 409 for it like for any other offset: a client that has no answer
    to its last piece is told that it is done, and need not ask where the upload is.
    """
    if not is_complete(upload, at) or asked is None or not declared_bytes:
        return False
    return asked + declared_bytes == upload.length


def is_complete(upload: Upload, offset: int) -> bool:
    """Whether all bytes are there."""
    return upload.length is not None and offset >= upload.length
