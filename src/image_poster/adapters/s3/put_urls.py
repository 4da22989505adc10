"""Signed URLs that lead to S3 itself.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/PresignedUrlUploadObject.html: length, type
and SHA-256 are part of the signature, so S3 takes nothing else.
"""

from base64 import b64encode
from typing import Any

from image_poster.adapters.s3.objects import S3Client, original_key
from image_poster.domain.times import rfc3339
from image_poster.domain.uploads import PutWay
from image_poster.ports.clock import Clock
from image_poster.ports.put_urls import PutTerms

# A URL is good for no longer than the credentials it was signed with; those of a Lambda last some
# hours.
_LONGEST_MS = 3600 * 1000


class S3PutUrls:
    """`PutUrls` for the bucket of uploads. Signing asks nobody."""

    def __init__(self, client: S3Client, bucket: str, clock: Clock) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutWay:
        now = self._clock.now_ms()
        until_ms = min(expires_ms, now + _LONGEST_MS)
        headers = {"content-type": terms.content_type}
        params: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": original_key(post_id),
            "ContentType": terms.content_type,
            "ContentLength": terms.size,
        }
        if terms.sha256:
            params["ChecksumSHA256"] = b64encode(terms.sha256).decode()
            headers["x-amz-checksum-sha256"] = params["ChecksumSHA256"]
        url = self._client.generate_presigned_url(
            "put_object", Params=params, ExpiresIn=(until_ms - now) // 1000
        )
        return PutWay(url=url, headers=headers, expires_at=rfc3339(until_ms))
