"""Events: facts that receivers of webhooks learn, and the schedule of their delivery.

An event names its fact by ids. Its `data` is read just before each try, so a resource that is
deleted or hidden by then is not sent.
"""

import secrets
from enum import StrEnum
from typing import NamedTuple

from image_poster.domain.posts import PostStatus

# The time of one try, in seconds.
TRY_SECONDS = 15
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
# The delays after the first tries that failed; after all later ones, the last of them again.
_DELAYS_MS = (5_000, 30_000, 5 * _MINUTE_MS, _HOUR_MS, 6 * _HOUR_MS, 12 * _HOUR_MS)
# Each delay differs by at most this part, so that many events are not due at the same moment.
_JITTER = 0.2
DELIVERED_FOR_MS = 72 * _HOUR_MS
# The bounds of the waiting and parked events of one endpoint.
MAX_EVENTS = 1_000_000
MAX_EVENT_BYTES = 1_000_000_000
MAX_ERROR_CHARACTERS = 200


class EventType(StrEnum):
    """The fact that an event reports. A type's first part is the noun of its resource."""

    POST_READY = "post.ready"
    POST_FAILED = "post.failed"
    POST_DELETED = "post.deleted"
    POST_HIDDEN = "post.hidden"
    POST_RESTORED = "post.restored"
    COMMENT_CREATED = "comment.created"
    COMMENT_DELETED = "comment.deleted"
    REPORT_CREATED = "report.created"
    DECISION_MADE = "decision.made"
    USER_DELETED = "user.deleted"


# Sent by the command `image-poster webhooks test` only. It has no fact, so it is no `EventType`.
PING = "ping"

# Events whose resource everybody may see, unless it was deleted or hidden since.
_SHOWN = frozenset({EventType.POST_READY, EventType.POST_RESTORED, EventType.COMMENT_CREATED})
_TYPES_BY_STATUS = {
    PostStatus.READY: EventType.POST_READY,
    PostStatus.FAILED: EventType.POST_FAILED,
    PostStatus.HIDDEN: EventType.POST_HIDDEN,
}


class Event(NamedTuple):
    """A fact. `post_id` and `comment_id` name its subject. `record_id` is the id of a report or of
    a decision, and `user` the user whom a decision or a deletion is about. `type` may be one of a
    later version, before a downgrade."""

    type: EventType | str
    post_id: str | None = None
    comment_id: str | None = None
    record_id: str | None = None
    user: str | None = None

    @property
    def shows_resource(self) -> bool:
        """True if `data` is the whole resource. It still has only the ids if not everybody may see
        the resource at the time of the try."""
        return self.type in _SHOWN

    def ids(self) -> dict[str, str | None]:
        """The `data` of an event whose resource is gone, or is not for everybody."""
        match self.type.partition(".")[0]:
            case "post":
                return {"id": self.post_id}
            case "comment":
                return {"id": self.comment_id, "post_id": self.post_id}
            case "report":
                subject = {"post_id": self.post_id, "comment_id": self.comment_id}
                return {"id": self.record_id, **subject}
            case "decision":
                subject = {"post_id": self.post_id, "comment_id": self.comment_id}
                return {"id": self.record_id, **subject, "user": self.user}
            case _:
                return {"user": self.user}


def new_event_id() -> str:
    """A new id for the header `webhook-id`, which all tries of an event share."""
    return f"evt_{secrets.token_hex(16)}"


def type_of_change(former: PostStatus, status: PostStatus) -> EventType | None:
    """The type of the event when a post changes its status; None if there is no event."""
    if status is former:
        return None
    if former is PostStatus.HIDDEN and status is PostStatus.READY:
        return EventType.POST_RESTORED
    return _TYPES_BY_STATUS.get(status)


def retry_delay_ms(tries: int, age_ms: int, random: float) -> int | None:
    """The delay until the next try after `tries` failed ones, in milliseconds; None if that was the
    last try. `age_ms` is the event's age, and `random` a number from 0 to 1."""
    delay = _DELAYS_MS[min(tries, len(_DELAYS_MS)) - 1]
    delay = round(delay * (1 - _JITTER + 2 * _JITTER * random))
    return delay if age_ms + delay <= DELIVERED_FOR_MS else None
