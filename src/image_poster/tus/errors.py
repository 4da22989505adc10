"""What the protocol refuses. These are answers like those of `domain/errors.py`, and rendered
there.

ImagePosterError
├── InvalidTusRequestError       400 invalid_tus_request
├── UploadNotFoundError          404 upload_not_found
├── OffsetMismatchError          409 offset_mismatch
├── UploadTakenOverError         409 upload_taken_over
├── UploadGoneError              410 upload_gone
├── TusVersionError              412 tus_version_unsupported
└── ChecksumMismatchError        460 checksum_mismatch
"""

from image_poster.domain.errors import (
    ConflictError,
    ImagePosterError,
    NotFoundError,
    RequestUnreadableError,
)


class InvalidTusRequestError(RequestUnreadableError):
    """A header that the protocol demands is missing or makes no sense."""

    code = "invalid_tus_request"
    detail = "A tus header is missing or malformed. See https://tus.io/protocols/resumable-upload."


class UploadNotFoundError(NotFoundError):
    """No such upload for this caller."""

    code = "upload_not_found"
    detail = "There is no such upload. Create one with POST /uploads."


class OffsetMismatchError(ConflictError):
    """Core, PATCH: offsets that differ MUST be answered with 409."""

    code = "offset_mismatch"
    detail = "The upload is at another offset. Ask with HEAD where it is, and go on from there."


class UploadTakenOverError(ConflictError):
    """A newer request for the same upload has ended this one."""

    code = "upload_taken_over"
    detail = "A newer request has taken this upload over."


class UploadGoneError(ImagePosterError):
    """Termination, Expiration: it was there, and is no more."""

    code = "upload_gone"
    status = 410
    detail = "This upload was ended or has expired. Create a new one."


class TusVersionError(ImagePosterError):
    """Core, Tus-Version: a version that is not supported MUST be answered with 412."""

    code = "tus_version_unsupported"
    status = 412
    detail = "Send the header Tus-Resumable: 1.0.0."


class ChecksumMismatchError(ImagePosterError):
    """Checksum: the chunk MUST be discarded and the status be 460."""

    code = "checksum_mismatch"
    status = 460
    detail = "The bytes do not match Upload-Checksum; nothing of them was kept. Send them again."
