"""`ImageCache` in CloudFront, by invalidation.

https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Invalidation.html
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.domain.errors import BusyError
from image_poster.domain.images import RENDITIONS
from image_poster.domain.posts import image_url


class CloudFrontImageCache:
    """`ImageCache` for one distribution."""

    def __init__(self, client: Any, distribution_id: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._distribution_id = distribution_id

    async def forget(self, post_id: str) -> None:
        # One by one: of paths with a wildcard 15 may be in progress, of others 3,000 ("Concurrent
        # invalidation requests"); and each path is paid for beyond 1,000 a month.
        paths = [image_url(post_id, rendition) for rendition in RENDITIONS]
        batch = {
            "Paths": {"Quantity": len(paths), "Items": paths},
            "CallerReference": post_id,  # asking again for the same post is the same invalidation
        }
        try:
            self._client.create_invalidation(
                DistributionId=self._distribution_id, InvalidationBatch=batch
            )
        except (ClientError, BotoCoreError) as exc:
            raise BusyError from exc
