"""The Python client: `ImagePosterClient`, and `AsyncImagePosterClient` with the same calls.

- steps, retries, uploading, calls, posting: the logic, and the sources of bytes
- journal: the stored state of uploads
- transport, proxies: the use of httpx
- sync, asynchronous: two ways to execute the same steps
"""

from image_poster.client.asynchronous import AsyncImagePosterClient
from image_poster.client.results import (
    ClientError,
    Comment,
    Comments,
    Failure,
    Feed,
    GaveUpError,
    Image,
    InUseError,
    Post,
    Progress,
    RefusedError,
    Rendition,
    SettingError,
    TooLateError,
)
from image_poster.client.retries import Policy
from image_poster.client.sync import ImagePosterClient

__all__ = [
    "AsyncImagePosterClient",
    "ClientError",
    "Comment",
    "Comments",
    "Failure",
    "Feed",
    "GaveUpError",
    "Image",
    "ImagePosterClient",
    "InUseError",
    "Policy",
    "Post",
    "Progress",
    "RefusedError",
    "Rendition",
    "SettingError",
    "TooLateError",
]
