"""Pieces of an upload, read in their order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from image_poster.adapters.s3.objects import S3Client, list_keys, pieces_prefix, translated

_AT_ONCE = 8


def pieces(client: S3Client, bucket: str, post_id: str) -> Iterator[bytes]:
    """The bytes of an upload, piece by piece, some of them fetched at once."""
    keys = list_keys(client, bucket, pieces_prefix(post_id))

    def fetch(key: str) -> bytes:
        with translated():
            content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for at in range(0, len(keys), _AT_ONCE):
            yield from pool.map(fetch, keys[at : at + _AT_ONCE])
