"""Every error the service answers with: one class a code, and this is the one table of them.

    ImagePosterError
    ├── RequestUnreadableError           400
    │   ├── InvalidJsonError             invalid_json
    │   ├── InvalidMultipartError        invalid_multipart
    │   ├── InvalidRequestError          invalid_request
    │   └── InvalidCursorError           invalid_cursor
    ├── IdentityRequiredError            401 identity_required
    ├── ForbiddenError                   403
    │   ├── NotYoursError                not_yours
    │   ├── UploadUrlInvalidError        upload_url_invalid
    │   └── HostNotAllowedError          host_not_allowed
    ├── NotFoundError                    404
    │   ├── RouteNotFoundError           route_not_found
    │   ├── PostNotFoundError            post_not_found
    │   ├── CommentNotFoundError         comment_not_found
    │   └── ImageNotFoundError           image_not_found
    ├── MethodNotAllowedError            405 method_not_allowed
    ├── ConflictError                    409
    │   ├── PostNotReadyError            post_not_ready
    │   └── RequestInProgressError       request_in_progress
    ├── TooLargeError                    413
    │   ├── UploadTooLargeError          upload_too_large
    │   ├── MultipartTooLargeError       multipart_too_large
    │   ├── PieceTooLargeError           piece_too_large
    │   └── BodyTooLargeError            body_too_large
    ├── UnsupportedMediaTypeError        415 unsupported_media_type
    ├── UnsupportedImageError            415 unsupported_image
    ├── RangeNotSatisfiableError         416 range_not_satisfiable
    ├── ValidationFailedError            422 validation_failed
    ├── IdempotencyKeyReusedError        422 idempotency_key_reused
    ├── InternalError                    500 internal_error
    ├── BusyError                        503 busy
    └── StorageFullError                 507 storage_full

Two never become an answer, and stand in `images.py`: `ImageRejectedError`, `ImageWorkFailedError`.
"""

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One broken rule: the field's name as the client wrote it, and what to do about it."""

    field: str
    detail: str


class ImagePosterError(Exception):
    """Base of all. `code` is stable and meant for programs, `detail` tells a person what to do."""

    code = "error"
    status = 500
    detail = "Something went wrong."

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or type(self).detail
        super().__init__(self.detail)


class RequestUnreadableError(ImagePosterError):
    """The request cannot be parsed at all."""

    status = 400


class InvalidJsonError(RequestUnreadableError):
    """The body is not JSON."""

    code = "invalid_json"
    detail = "The body is not JSON. Send one JSON object in UTF-8."


class InvalidMultipartError(RequestUnreadableError):
    """The body is not a whole multipart form."""

    code = "invalid_multipart"
    detail = "The body is not complete multipart/form-data. Send it again, whole."


class InvalidRequestError(RequestUnreadableError):
    """Something else of the request cannot be parsed."""

    code = "invalid_request"
    detail = "The request cannot be understood. Check its path, query and headers."


class InvalidCursorError(RequestUnreadableError):
    """The cursor was not made for this list, or not by us."""

    code = "invalid_cursor"
    detail = "This cursor does not belong to this list. Start again without a cursor."


class IdentityRequiredError(ImagePosterError):
    """A write without an identity, or one that does not hold."""

    code = "identity_required"
    status = 401
    detail = "Say who you are: send the header `user-id`."


class ForbiddenError(ImagePosterError):
    """The caller is known, and may not."""

    status = 403


class NotYoursError(ForbiddenError):
    """Somebody else's thing."""

    code = "not_yours"
    detail = "This belongs to somebody else; only its creator can do that."


class UploadUrlInvalidError(ForbiddenError):
    """A signed URL that is not, or no longer, good."""

    code = "upload_url_invalid"
    detail = "This upload URL was changed or has expired. Reserve a post anew, or upload by tus."


class HostNotAllowedError(ForbiddenError):
    """The Host header names another machine."""

    code = "host_not_allowed"
    detail = "With auth=dev the service answers only to a loopback name, such as localhost."


class NotFoundError(ImagePosterError):
    """There is no such thing, or not for this caller."""

    status = 404


class RouteNotFoundError(NotFoundError):
    """No such path."""

    code = "route_not_found"
    detail = "There is nothing at this path. The paths are listed at /docs."


class PostNotFoundError(NotFoundError):
    """No such post for this caller."""

    code = "post_not_found"
    detail = "There is no such post. It may have been deleted, or may not be ready yet."


class CommentNotFoundError(NotFoundError):
    """No such comment on this post."""

    code = "comment_not_found"
    detail = "There is no such comment on this post. It may have been deleted."


class ImageNotFoundError(NotFoundError):
    """No such picture."""

    code = "image_not_found"
    detail = "There is no such picture. Its post may have been deleted, or may not be ready yet."


class MethodNotAllowedError(ImagePosterError):
    """The path is there, the method is not (RFC 9110 section 15.5.6)."""

    code = "method_not_allowed"
    status = 405
    detail = "This path does not take that method. The header Allow lists those it takes."


class ConflictError(ImagePosterError):
    """Not in the state that things are in now."""

    status = 409


class PostNotReadyError(ConflictError):
    """The caller's own post, too early."""

    code = "post_not_ready"
    detail = "The post's picture is not ready. Wait until its status is `ready`."


class RequestInProgressError(ConflictError):
    """The same request, by its idempotency key, is being worked on right now."""

    code = "request_in_progress"
    detail = "Your first request with this Idempotency-Key is still running. Ask again in a moment."


class TooLargeError(ImagePosterError):
    """More bytes than the limits allow; GET /limits says how many."""

    status = 413


class UploadTooLargeError(TooLargeError):
    """A picture of too many bytes."""

    code = "upload_too_large"
    detail = "The picture has too many bytes. GET /limits says how many are taken."


class MultipartTooLargeError(TooLargeError):
    """A picture of more bytes than one request may carry here, though `upload` takes them."""

    code = "multipart_too_large"
    detail = "Too large for one request. Reserve the post as JSON, and send it as `upload` says."


class PieceTooLargeError(TooLargeError):
    """A piece of an upload of more bytes than one request may carry here."""

    code = "piece_too_large"
    detail = "The piece is too large for one request. GET /limits has upload.max_piece_bytes."


class BodyTooLargeError(TooLargeError):
    """Any other body of too many bytes."""

    code = "body_too_large"
    detail = "The body has too many bytes for this request."


class UnsupportedMediaTypeError(ImagePosterError):
    """The wrong Content-Type for this path."""

    code = "unsupported_media_type"
    status = 415
    detail = "This path does not take that Content-Type."


class UnsupportedImageError(ImagePosterError):
    """Bytes that are no picture of a format we read."""

    code = "unsupported_image"
    status = 415
    detail = "This is no picture we can read. Send JPEG, PNG, BMP, WebP, GIF, HEIC or AVIF."


class RangeNotSatisfiableError(ImagePosterError):
    """RFC 9110 section 15.5.17; `size` is the length of the whole in bytes."""

    code = "range_not_satisfiable"
    status = 416
    detail = "The range lies behind the end. Content-Range tells the length."

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__()


class ValidationFailedError(ImagePosterError):
    """A value breaks a rule; `errors` names each field."""

    code = "validation_failed"
    status = 422

    def __init__(self, *errors: FieldError) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))


class IdempotencyKeyReusedError(ImagePosterError):
    """A key that came with another request before."""

    code = "idempotency_key_reused"
    status = 422
    detail = "This Idempotency-Key came with another request. Use a new key for a new request."


class InternalError(ImagePosterError):
    """Our fault; its cause is in the log only."""

    code = "internal_error"
    status = 500
    detail = "Something went wrong on our side. It has been logged under this request id."


class BusyError(ImagePosterError):
    """Not now, but soon."""

    code = "busy"
    status = 503
    detail = "The service is busy or stopping. Try again in a moment."


class StorageFullError(ImagePosterError):
    """No room on the disk."""

    code = "storage_full"
    status = 507
    detail = "There is no room left to store this. Nothing was kept of it; try again later."


def invalid(field: str, detail: str) -> ValidationFailedError:
    """The usual case of `ValidationFailedError`: one field, one rule."""
    return ValidationFailedError(FieldError(field, detail))
