"""The Lambda that S3 notifies of an object: an original from a signed PUT, or the marker of a
complete set of pieces.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from image_poster.editions.aws import cold_start  # isort: split

import asyncio
from typing import Any

import structlog

from image_poster.adapters.images.confinement import hide_from_others
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.adapters.s3.schema import post_id_of
from image_poster.editions.aws import container
from image_poster.editions.aws.container import hook_reviews
from image_poster.editions.aws.settings import read_settings
from image_poster.editions.logs import configure, emf

_settings = read_settings()
configure("json", stack=_settings.stack)
_log = structlog.get_logger()
_renderer = VipsImageRenderer(
    RenderSettings(max_pixels=_settings.image_pixels), timeout_seconds=_settings.image_seconds
)
_aws = container.AwsContainer(_settings)
_publisher = _aws.image_publisher(_renderer, hook_reviews(_aws))
# This environment has credentials. On a kernel that cannot confine decoders, /proc would show them
# to a decoder that was taken over. Its own environment has none (adapters/images/renderer).
hide_from_others()
# One loop for all invocations: the template process, which is kept, belongs to it.
_loop = asyncio.new_event_loop()
cold_start.over()


def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ANN401 - Lambda's
    """Process the images of the posts in the event. After an error the whole event is delivered
    again."""
    for record in event["Records"]:
        post_id = post_id_of(record["s3"]["object"]["key"])
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(invocation=_invocation(context), post=post_id)
        _loop.run_until_complete(_work(post_id))


async def _work(post_id: str) -> None:
    try:
        status = await _publisher.publish(post_id)
    except Exception:
        _log.exception("image work failed", service="image")
        raise
    _log.info(
        "image work done",
        service="image",
        outcome=status or "deleted",
        sandbox=str(_renderer.confinement),
        Images=1,
        _aws=emf(Images="Count"),
    )


def _invocation(context: Any) -> str:  # noqa: ANN401 - Lambda's
    return str(getattr(context, "aws_request_id", ""))
