"""Users' commands: comment, read the feed, show and delete posts."""

import time

import click
import msgspec

from image_poster.cli.options import TEXT, Caller, client_options, post_id_argument
from image_poster.cli.output import print_found, say, say_json
from image_poster.cli.resuming import ask_whether_again, is_final
from image_poster.client import ImagePosterClient, RefusedError, TooLateError
from image_poster.client.uploading import is_late


@click.command()
@post_id_argument
@click.argument("text", type=TEXT)
@click.option("--again", is_flag=True, help="Comment anew where the same was sent over 6 days ago.")
@client_options
def comment(post_id: str, text: str, url: str, who: Caller, *, again: bool, as_json: bool) -> None:
    """Comment on a post.

    A command that was stopped comments once when it is run again. Once it has printed the comment,
    the same command adds another one.
    """
    with (
        ImagePosterClient(url, **who._asdict()) as client,
        client.journal.open_entry(client.comment_identity(post_id, text)) as entry,
    ):
        now = time.time()
        ask_whether_again("This comment", entry, now=now, again=again)
        if is_late(entry.state, now):
            raise TooLateError("This comment", entry.state.since)
        entry.save(msgspec.structs.replace(entry.state, since=entry.state.since or now))
        try:
            created = client.comment(post_id, text, idempotency_key=entry.state.key)
        except RefusedError as exc:
            if is_final(exc):
                entry.remove()
            raise
        print_found(created, as_json=as_json)
        entry.remove()


@click.command()
@click.option("--sort", type=click.Choice(["top", "new"]), default="top", show_default=True)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--cursor", type=TEXT, help="Go on where the page before ended.")
@click.option("--unfinished", is_flag=True, help="Your own posts that are not ready, and why.")
@client_options
def feed(
    sort: str,
    limit: int,
    cursor: str | None,
    url: str,
    who: Caller,
    *,
    unfinished: bool,
    as_json: bool,
) -> None:
    """Read the feed."""
    with ImagePosterClient(url, **who._asdict()) as client:
        if unfinished:
            page = client.unfinished(limit=limit, cursor=cursor)
        else:
            page = client.feed(sort=sort, limit=limit, cursor=cursor)
    if as_json:
        say_json(page)
        return
    for shown in page.posts:
        print_found(shown, as_json=False)
    if not page.posts:
        click.echo("no posts here yet")
    if page.next:
        say(f"more: --cursor {page.next}")


@click.command()
@post_id_argument
@client_options
def show(post_id: str, url: str, who: Caller, *, as_json: bool) -> None:
    """Show one post."""
    with ImagePosterClient(url, **who._asdict()) as client:
        print_found(client.show(post_id), as_json=as_json)


@click.command()
@post_id_argument
@client_options
def delete(post_id: str, url: str, who: Caller, *, as_json: bool) -> None:
    """Delete your own post, with its comments and images."""
    with ImagePosterClient(url, **who._asdict()) as client:
        client.delete(post_id)
    if as_json:
        say_json({"deleted": post_id})
    else:
        click.echo(f"deleted {post_id}")


COMMANDS = [comment, feed, show, delete]
