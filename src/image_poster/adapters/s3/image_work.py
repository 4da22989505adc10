"""`ImageWork` by an object whose making S3 tells the image Lambda of."""

from image_poster.adapters.s3.objects import Buckets, S3Client, complete_key, translated


class S3ImageWork:
    """`ImageWork` in S3."""

    def __init__(self, client: S3Client, buckets: Buckets) -> None:
        self._client = client
        self._buckets = buckets

    async def begin(self, post_id: str) -> None:
        with translated():
            self._client.put_object(
                Bucket=self._buckets.uploads, Key=complete_key(post_id), Body=b""
            )
