"""The Python client: `ImagePosterClient`, and `AsyncImagePosterClient` with the same calls."""

from image_poster.client.client import AsyncImagePosterClient, ImagePosterClient
from image_poster.client.results import (
    ClientError,
    CommentResult,
    Comments,
    FailureResult,
    Feed,
    GaveUpError,
    ImageResult,
    InUseError,
    PostResult,
    Progress,
    RefusedError,
    RenditionResult,
    SettingError,
    TooLateError,
)
from image_poster.client.retries import Policy

__all__ = [
    "AsyncImagePosterClient",
    "ClientError",
    "CommentResult",
    "Comments",
    "FailureResult",
    "Feed",
    "GaveUpError",
    "ImagePosterClient",
    "ImageResult",
    "InUseError",
    "Policy",
    "PostResult",
    "Progress",
    "RefusedError",
    "RenditionResult",
    "SettingError",
    "TooLateError",
]
