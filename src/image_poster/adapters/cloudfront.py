"""`PictureCache` in CloudFront, by invalidation.

https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Invalidation.html
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.domain.errors import BusyError


class CloudFrontImageCache:
    """`PictureCache` for one distribution."""

    def __init__(self, client: Any, distribution_id: str) -> None:  # noqa: ANN401 - botocore makes clients at run time
        self._client = client
        self._distribution_id = distribution_id

    async def forget(self, post_id: str) -> None:
        batch = {
            "Paths": {"Quantity": 1, "Items": [f"/images/{post_id}/*"]},
            "CallerReference": post_id,  # asking again for the same post is the same invalidation
        }
        try:
            self._client.create_invalidation(
                DistributionId=self._distribution_id, InvalidationBatch=batch
            )
        except (ClientError, BotoCoreError) as exc:
            raise BusyError from exc
