"""The Python client: `ImagePosterClient`, its results (the service's own shapes) and its two
errors."""

from image_poster.client.errors import ClientError, GaveUpError, RefusedError
from image_poster.client.sync import ImagePosterClient

__all__ = ["ClientError", "GaveUpError", "ImagePosterClient", "RefusedError"]
