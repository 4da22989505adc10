"""What posts have become, read from the table itself: for when the stream has forgotten the records
that told of it."""

from image_poster.adapters.dynamodb.items import POST
from image_poster.adapters.dynamodb.stream import turn_of
from image_poster.adapters.dynamodb.table import Key, Table
from image_poster.usecases.follow_changes import PostChanges

_ITEMS_AT_A_TIME = 1000


async def unfollowed(table: Table, after: Key | None) -> tuple[list[PostChanges], Key | None]:
    """What may have to follow from a part of the table, and where to go on (None: the end).
    Following what was followed before is harmless."""
    posts, following = await table.scan(POST, _ITEMS_AT_A_TIME, after)
    turned = [(str(post["id"]), turn_of(post)) for post in posts]
    changes = [
        PostChanges(post_id, frozenset(), frozenset({turn})) for post_id, turn in turned if turn
    ]
    return changes, following
