"""All decisions of tus that depend on an upload's state."""

from image_poster.domain import errors
from image_poster.domain.uploads import Upload


def check_new_length(length: int | None, longest: int) -> None:
    """Check the length of a new upload. Creation, POST: a length over Tus-Max-Size MUST be answered
    with 413."""
    if length is not None and length > longest:
        raise errors.UploadTooLargeError
    if length == 0:
        raise errors.InvalidTusRequestError("Upload-Length must be at least 1: an image has bytes.")


def length_to_declare(
    upload: Upload, declared: int | None, offset: int, longest: int
) -> int | None:
    """The length that a PATCH declares for a deferred upload; None if it declares no new one.

    Creation: once set, the length MUST NOT change. It cannot be less than the bytes received.
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
    """The most bytes that a PATCH may bring: the upload is `at` an offset, the request has offset
    `asked`.

    Core, PATCH: if the offsets differ, 409 without changing anything. A body with a declared length
    beyond the rest is refused before it is read.
    """
    if asked != at:
        raise errors.OffsetMismatchError
    left = (longest if upload.length is None else upload.length) - at
    check_fits(upload, left, declared_bytes or 0)
    return left


def check_fits(upload: Upload, left: int, come: int) -> None:
    """Check that `come` more bytes are at most `left`. Raises `UploadTooLargeError`, which names
    the announced length if there is one."""
    if come <= left:
        return
    if upload.length is None:
        raise errors.UploadTooLargeError
    raise errors.UploadTooLargeError(
        f"More bytes came than the {upload.length} that were announced. Reserve the image anew, "
        "with its size."
    )


def repeats_the_end(upload: Upload, at: int, asked: int | None, declared_bytes: int | None) -> bool:
    """Return True if a PATCH to a complete upload repeats its last piece, because the answer was
    lost.

    Beyond the protocol, which answers 409 here as for any other wrong offset. So a client without
    an answer to its last piece learns that the upload is complete, and need not ask for the offset.
    """
    if not is_complete(upload, at) or asked is None or not declared_bytes:
        return False
    return asked + declared_bytes == upload.length


def is_complete(upload: Upload, offset: int) -> bool:
    """Return True if all bytes are there."""
    return upload.length is not None and offset >= upload.length
