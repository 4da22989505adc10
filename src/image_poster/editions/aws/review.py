"""The review hook on AWS: the image Lambda calls it. Its secret is in Secrets Manager."""

from image_poster.adapters.webhooks import HttpReviewHook, decoded_secret
from image_poster.domain.images import RENDITION_SMALL
from image_poster.editions import StartError
from image_poster.editions.aws.container import AwsContainer, secret
from image_poster.ports.posts import HookReviews
from image_poster.services.review import ReviewMode
from image_poster.services.review_hook import HookReviewer, ImmediateReviews, ReviewHook


def hook_reviews(aws: AwsContainer) -> HookReviews | None:
    """The reviews by the hook that the settings name; None without one. Raises `StartError`."""
    settings = aws.settings
    if settings.review != ReviewMode.HOOK:
        return None
    key = _key(secret(settings.webhook_secret))
    return reviews_by(aws, HttpReviewHook(settings.review_url, lambda: (key,)))


def reviews_by(aws: AwsContainer, hook: ReviewHook) -> ImmediateReviews:
    """The reviews by this hook."""

    def image_url(post_id: str) -> str:
        return aws.images.review_url(post_id, RENDITION_SMALL)

    return ImmediateReviews(HookReviewer(aws.posts(), hook, aws.clock, image_url))


def _key(text: str) -> bytes:
    try:
        return decoded_secret(text)
    except ValueError as exc:
        raise StartError("The webhook secret must be Base64, after an optional whsec_.") from exc
