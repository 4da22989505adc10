"""Admins' commands: list the moderation queue, and decide."""

from typing import cast, get_args

import click

from image_poster.cli.options import TEXT, Caller, client_options
from image_poster.cli.output import author, indented, print_json, print_text
from image_poster.client import DecisionResult, ImagePosterClient, PostResult, QueueEntryResult
from image_poster.client.moderation import Action, Reason, subject_members
from image_poster.domain.ids import parse_rfc3339
from image_poster.domain.limits import escape_controls

_LAYOUT = "\n\t"


@click.command()
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--cursor", type=TEXT, help="Cursor of the page to show, printed by the page before.")
@client_options
def moderation(limit: int, cursor: str | None, url: str, caller: Caller, *, as_json: bool) -> None:
    """List the open entries of the moderation queue, oldest first (admins).

    Each entry begins with its subject, as `decide` needs it.
    """
    with ImagePosterClient(url, **caller._asdict()) as client:
        page = client.moderation_queue(limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    for entry in page.entries:
        _print_entry(entry)
    if not page.entries:
        click.echo("the queue is empty")
    if page.next:
        print_text(f"more: --cursor {page.next}")


def _print_entry(entry: QueueEntryResult) -> None:
    """Print an entry for people. Lines of other users' texts are indented, so that none looks like
    an entry."""
    print_text(f"{entry.subject}  {_kind(entry)}  since {entry.since}")
    if entry.post is not None:
        _print_post(entry.post)
    elif entry.post_id is not None:
        print_text("    the post was deleted")
    if entry.comment is not None:
        content = f"comment by {author(entry.comment)}: {entry.comment.content}"
        print_text(indented(content, 4), keep=_LAYOUT)
    elif entry.comment_id is not None:
        print_text("    the comment was deleted")
    for report in entry.latest:
        words = (
            f"{escape_controls(report.reporter or '(deleted)')}: {escape_controls(report.reason)}"
        )
        print_text(indented(_with_text(words, report.text), 6), keep=_LAYOUT)
    if entry.appeal is not None:
        if entry.appeal.decision is not None:
            print_text(indented(_against(entry.appeal.decision), 6), keep=_LAYOUT)
        print_text(indented(f"appeal: {entry.appeal.text}", 6), keep=_LAYOUT)


def _against(decision: DecisionResult) -> str:
    """The decision that an appeal is against, in a line."""
    words = f"decision by {escape_controls(decision.by)}: {escape_controls(decision.action)}"
    return _with_text(f"{words} {decision.reason or ''}".rstrip(), decision.text)


def _kind(entry: QueueEntryResult) -> str:
    """The kind of an entry, and its cause in some words."""
    if entry.match is not None:
        line, decision = entry.match.line, entry.match.decision
        return f"{entry.kind}: " + (f"line {line}" if line is not None else f"decision {decision}")
    if not entry.reports:
        return entry.kind
    ranked = sorted(entry.reasons.items(), key=lambda item: (-item[1], item[0]))
    return f"{entry.kind}: " + ", ".join(f"{reason} {count}" for reason, count in ranked)


def _print_post(post: PostResult) -> None:
    status = "" if post.status == "ready" else f" [{post.status}]"
    caption = f"post by {author(post)}{status}: {post.caption}"
    print_text(indented(caption, 4), keep=_LAYOUT)
    if post.image is not None:
        print_text(f"    {post.image.url}")


def _with_text(words: str, text: str | None) -> str:
    return f"{words}: {text}" if text else words


def _checked_subject(_context: click.Context, _argument: click.Parameter, subject: str) -> str:
    try:
        subject_members(subject)
    except ValueError as exc:
        raise click.BadParameter(f"{exc}.") from exc
    return subject


def _check_action(action: str, subject: str) -> None:
    """Refuse `ban alice`: a name without its prefix looks like a post's id."""
    if action in {"ban", "unban"} and "user" not in subject_members(subject):
        raise click.UsageError(f"{action} needs a user as SUBJECT: user:NAME, not {subject!r}.")


def _checked_time(
    _context: click.Context, _option: click.Parameter, time: str | None
) -> str | None:
    if time is not None and parse_rfc3339(time) is None:
        raise click.BadParameter("is not a time with its zone, such as 2031-01-31T12:00:00Z.")
    return time


@click.command()
@click.argument("action", type=click.Choice(get_args(Action)))
@click.argument("subject", type=TEXT, callback=_checked_subject)
@click.option("--reason", type=click.Choice(get_args(Reason)), help="For hide, delete and ban.")
@click.option("--text", type=TEXT, help="Statement of reasons, which the user can read.")
@click.option("--until", callback=_checked_time, help="End of a ban; without it, it is for good.")
@click.option("--block-image", is_flag=True, help="Block the image of a deleted post for good.")
@client_options
def decide(  # noqa: PLR0913 - the options of a command
    action: str,
    subject: str,
    reason: str | None,
    text: str | None,
    until: str | None,
    url: str,
    caller: Caller,
    *,
    block_image: bool,
    as_json: bool,
) -> None:
    """Decide about SUBJECT: `POST_ID`, `POST_ID/COMMENT_ID` or `user:NAME` (admins).

    A decision closes the subject's open entries of the queue. The same command again changes
    nothing.
    """
    _check_action(action, subject)
    with ImagePosterClient(url, **caller._asdict()) as client:
        decision = client.decide(
            cast("Action", action),
            subject,
            reason=cast("Reason | None", reason),
            text=text,
            until=until,
            block_image=block_image,
        )
    if as_json:
        print_json(decision)
    else:
        _print_decision(decision, subject)


def _print_decision(decision: DecisionResult, subject: str) -> None:
    until = f"  until {decision.until}" if decision.until else ""
    reason = f"  {decision.reason}" if decision.reason else ""
    print_text(f"{decision.id}  {decision.action} {subject}{reason}{until}")
    if decision.text:
        print_text(indented(decision.text, 4), keep=_LAYOUT)


COMMANDS = [moderation, decide]
