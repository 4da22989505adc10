"""Answer a creating request once, however often it comes with the same idempotency key."""

from collections.abc import Awaitable

from image_poster.domain.idempotency import (
    AlreadyAnsweredError,
    Answer,
    IdempotencyRecord,
    former_answer,
)


async def answer_once(
    write: Awaitable[None], answer: Answer, receipt: IdempotencyRecord | None
) -> Answer:
    """`answer` once `write` has been done, or what was answered before, with nothing written.

    Raises `IdempotencyKeyReusedError`.
    """
    try:
        await write
    except AlreadyAnsweredError as exc:
        return former_answer(exc.receipt, receipt)
    return answer
