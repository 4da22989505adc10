"""The table of all errors that the service answers with, one line each.

A line is a class: it is raised, caught by its name, and rendered in `http/problems.py` (RFC 9457).
`code` is stable and meant for programs, `detail` tells a person what to do. Two errors never become
an answer and are in `images.py`: `ImageRejectedError` and `ImageWorkFailedError`.
"""

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One broken rule: the field's name as the client wrote it, and what to do about it."""

    field: str
    detail: str


class ImagePosterError(Exception):
    """Base class of all errors. `retry_after` is the time in seconds after which a retry may
    succeed."""

    status = 500
    code = "error"
    detail = "Something went wrong."
    retry_after: int | None = None

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or type(self).detail
        super().__init__(self.detail)


class RangeNotSatisfiableError(ImagePosterError):
    """The range lies behind the end (RFC 9110 section 15.5.17); `size` is the whole length in
    bytes."""

    status, code = 416, "range_not_satisfiable"
    detail = "The range begins after the end of the file. The header Content-Range has the file's length."

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__()


class ValidationFailedError(ImagePosterError):
    """A value breaks a rule; `errors` names each field."""

    status, code = 422, "validation_failed"
    detail = "A value breaks a rule. `errors` names each field and its rule."

    def __init__(self, *errors: FieldError) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))


class RateLimitedError(ImagePosterError):
    """A caller has reached the limit named `limit`: `quota` units in `window` seconds (0: no time
    window)."""

    status, code = 429, "rate_limited"
    detail = (
        "You have reached a limit. Wait for the time in Retry-After. GET /limits lists all limits."
    )

    def __init__(self, detail: str, *, limit: str, quota: int, window: int, wait: int) -> None:
        self.limit, self.quota, self.window, self.retry_after = limit, quota, window, wait
        super().__init__(detail)


class TextBlockedError(ValidationFailedError):
    """A text contains a blocked word; the error names the field, and never the word."""

    code = "text_blocked"
    detail = "A text contains a word that is not allowed here. `errors` names the field. Change the text."


class BannedError(ImagePosterError):
    """The caller is banned for `reason`, until the time `until` (RFC 3339; None: for good)."""

    status, code = 403, "banned"
    detail = "You are banned from posting. You can read, delete your own content, and appeal (GET /me/decisions)."

    def __init__(self, reason: str | None, until: str | None) -> None:
        self.reason, self.until = reason, until
        super().__init__()


ERRORS: list[type[ImagePosterError]] = [
    RangeNotSatisfiableError,
    ValidationFailedError,
    RateLimitedError,
    TextBlockedError,
    BannedError,
]


def _error(
    status: int, code: str, detail: str, *, retry_after: int | None = None
) -> type[ImagePosterError]:
    """Create the class of one line; its name follows the code: `post_not_found`,
    `PostNotFoundError`."""
    name = "".join(map(str.capitalize, code.split("_"))).removesuffix("Error") + "Error"
    members = {"status": status, "code": code, "detail": detail, "retry_after": retry_after}
    error = type(name, (ImagePosterError,), {**members, "__module__": __name__})
    ERRORS.append(error)
    return error


# fmt: off
InvalidJsonError = _error(400, "invalid_json", "The body is not JSON. Send one JSON object in UTF-8.")
InvalidMultipartError = _error(400, "invalid_multipart", "The body is not complete multipart/form-data. Send it again, whole.")
InvalidRequestError = _error(400, "invalid_request", "The request cannot be understood. Check its path, query and headers.")
InvalidCursorError = _error(400, "invalid_cursor", "This cursor does not belong to this list. Start again without a cursor.")
InvalidTusRequestError = _error(400, "invalid_tus_request", "A tus header is missing or malformed. See https://tus.io/protocols/resumable-upload.")
ConcatenationUnsupportedError = _error(400, "concatenation_unsupported", "The service does not join uploads (no Upload-Concat). Send the image as one upload: parallelUploads: 1.")
IdentityRequiredError = _error(401, "identity_required", "This request needs a signed-in user. Sign in, and send it again.")
NotYoursError = _error(403, "not_yours", "This belongs to another user. Only its creator can do that.")
AdminsOnlyError = _error(403, "admins_only", "Only admins may do this. The operator's setting IMAGE_POSTER_ADMINS names them.")
BlockedError = _error(403, "blocked", "You cannot comment on this post.")
AccountDeletedError = _error(403, "account_deleted", "Your account is being deleted, so you cannot write. Once its data is gone, you can use the same name again.")
UploadUrlInvalidError = _error(403, "upload_url_invalid", "This upload URL was changed or has expired. Reserve a new post, or upload by tus.")
DirectAccessError = _error(403, "direct_access", "This address is not the public address of the service. Send the request to the public address.")
HostNotAllowedError = _error(403, "host_not_allowed", "With auth=dev the service answers only to a loopback name, such as localhost.")
RouteNotFoundError = _error(404, "route_not_found", "There is nothing at this path. The paths are listed at /docs.")
PostNotFoundError = _error(404, "post_not_found", "There is no such post. It may have been deleted, or may not be ready yet.")
CommentNotFoundError = _error(404, "comment_not_found", "There is no such comment on this post. It may have been deleted.")
ImageNotFoundError = _error(404, "image_not_found", "There is no such image. Its post may have been deleted, or may not be ready yet.")
DecisionNotFoundError = _error(404, "decision_not_found", "There is no such decision about your content or account. GET /me/decisions lists them.")
UploadNotFoundError = _error(404, "upload_not_found", "There is no such upload. Create one with POST /uploads.")
MethodNotAllowedError = _error(405, "method_not_allowed", "This path does not support that method. The header Allow lists its methods.")
BodySilentError = _error(408, "body_silent", "No data of the body arrived for too long. Send the request again. A resumable upload keeps its bytes: ask for the offset with HEAD.")
PostNotReadyError = _error(409, "post_not_ready", "The post is not public. Wait until its status is `ready`.")
RequestInProgressError = _error(409, "request_in_progress", "Your first request with this Idempotency-Key is still running. Ask again in a moment.", retry_after=1)
DecisionConflictError = _error(409, "decision_conflict", "This action does not fit the state of its subject. Get the subject again, and decide anew.")
AppealMadeError = _error(409, "appeal_made", "You have appealed against this decision before. GET /me/decisions shows the outcome.")
OffsetMismatchError = _error(409, "offset_mismatch", "The upload is at another offset. Ask for it with HEAD, and continue from there.")
UploadTakenOverError = _error(409, "upload_taken_over", "A newer request continues this upload. Ask for the offset with HEAD before you send more.")
GoneError = _error(410, "gone", "The resource that this Idempotency-Key created has been deleted since. To create it again, use a new key.")
UploadGoneError = _error(410, "upload_gone", "This upload was deleted or has expired. Create a new one.")
EditConflictError = _error(412, "edit_conflict", "Another edit came first. Get the resource again, and edit its new version.")
TusVersionUnsupportedError = _error(412, "tus_version_unsupported", "The header Tus-Resumable is missing or names another version. Send Tus-Resumable: 1.0.0.")
UploadTooLargeError = _error(413, "upload_too_large", "The image has too many bytes. GET /limits has the limit.")
MultipartTooLargeError = _error(413, "multipart_too_large", "The form is too large for one request. Reserve the post as JSON, and send the image to an address in `upload`.")
PieceTooLargeError = _error(413, "piece_too_large", "The piece is too large for one request. Send pieces of at most upload.max_piece_bytes (GET /limits).")
BodyTooLargeError = _error(413, "body_too_large", "The body has too many bytes for this request: JSON may have 256 KiB. Send fewer bytes.")
UnsupportedMediaTypeError = _error(415, "unsupported_media_type", "This path does not accept that Content-Type. /docs lists the accepted types.")
UnsupportedImageError = _error(415, "unsupported_image", "The service cannot read this file as an image. Send JPEG, PNG, BMP, WebP, GIF, HEIC or AVIF.")
IdempotencyKeyReusedError = _error(422, "idempotency_key_reused", "This Idempotency-Key was used for another request. Use a new key for a new request.")
TooManyBlocksError = _error(422, "too_many_blocks", "You block 1,000 users, which is the limit. Unblock one first: GET /me/blocks lists them.")
ChecksumMismatchError = _error(460, "checksum_mismatch", "The bytes do not match Upload-Checksum, so they were not stored. Send them again.")
InternalError = _error(500, "internal_error", "Something went wrong on our side. It has been logged under this request id.")
BusyError = _error(503, "busy", "The service is busy or stopping. Try again in a moment.", retry_after=2)
NotReadyError = _error(503, "not_ready", "The service cannot store comments now. Operators find the reason in its log.", retry_after=2)
StorageFullError = _error(507, "storage_full", "The disk has too little free space, so the request was not stored. Try again later.", retry_after=2)
# fmt: on


def invalid(field: str, detail: str) -> ValidationFailedError:
    """A `ValidationFailedError` for one field that breaks one rule."""
    return ValidationFailedError(FieldError(field, detail))
