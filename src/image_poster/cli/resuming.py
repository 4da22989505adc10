"""Resume commands where an earlier run of the same command was stopped."""

import sys

import click

from image_poster.client import ClientError, RefusedError, TooLateError
from image_poster.client.journal import JournalEntry, new_state
from image_poster.client.uploading import is_late

# Another token, or another moment, may change the answer: an earlier request may still have
# succeeded, and only its key tells (RFC 9110, sections 15.5.2, 15.5.4 and 15.5.10).
_UNDECIDED = {401, 403, 409}


def ask_whether_again(name: str, entry: JournalEntry, *, now: float, again: bool) -> None:
    """Start over if the first request was sent too long ago, and the user agrees."""
    if not is_late(entry.state, now):
        return
    question = f"{TooLateError(name, entry.state.since)}. Post it anew?"
    has_person = sys.stdin is not None and sys.stdin.isatty()
    if again or (has_person and click.confirm(question, err=True)):
        entry.save(new_state())


def is_final(error: ClientError) -> bool:
    """True if the same request would be refused again, and has never succeeded."""
    return isinstance(error, RefusedError) and error.status not in _UNDECIDED
