"""Data of users, made with the Python client."""

import io

from image_poster.client import ImagePosterClient, PostResult
from support import samples

IMAGE = samples.from_phone(6, 900, 600)


def new_post(client: ImagePosterClient, caption: str = "", image: bytes = IMAGE) -> PostResult:
    """A post that is ready."""
    post = client.post(io.BytesIO(image), caption=caption)
    while post.status == "processing":
        post = client.wait_until_processed(post.id)
    assert post.status == "ready"
    return post


def name_of(client: ImagePosterClient) -> str:
    """The user of a client."""
    name = client.me().user
    assert name is not None
    return name
