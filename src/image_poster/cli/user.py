"""For who posts."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from image_poster.client import ImagePosterClient, RefusedError
from image_poster.domain.comments import Comment
from image_poster.domain.posts import PostStatus, PostWithComments

Command = Callable[..., Any]


def client_options(command: Command) -> Command:
    """`--url`, `--as` and `--json`, which all commands of a client take."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--as", "user", envvar="IMAGE_POSTER_USER", help="Who you are."),
        click.option(
            "--url",
            envvar="IMAGE_POSTER_URL",
            default="http://127.0.0.1:8080",
            show_default=True,
            help="Where the service is.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--caption", default="", help="Text below the picture.")
@click.option("--alt", default="", help="What the picture shows, for who cannot see it.")
@click.option("--wait/--no-wait", default=True, help="Wait until the picture is processed.")
@client_options
def post(
    files: tuple[Path, ...],
    caption: str,
    alt: str,
    url: str,
    user: str | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Post pictures, one post each."""
    with ImagePosterClient(url, user) as client:
        for file in files:
            made = _post_one(client, file, caption, alt)
            if wait:
                made = client.wait_until_processed(made.id)
            _print(made, as_json=as_json)
            _check_shown(file, made)


def _post_one(client: ImagePosterClient, file: Path, caption: str, alt: str) -> PostWithComments:
    with click.progressbar(length=file.stat().st_size, label=file.name, file=sys.stderr) as bar:

        def progress(done: int, _total: int) -> None:
            bar.update(done - bar.pos)

        return client.post(file, caption=caption, alt=alt, progress=progress)


def _check_shown(file: Path, made: PostWithComments) -> None:
    if isinstance(made.failure, msgspec.UnsetType):
        return
    raise RefusedError(422, made.failure.code, f"{file}: {made.failure.detail}")


@click.command()
@click.argument("post_id")
@click.argument("text")
@client_options
def comment(post_id: str, text: str, url: str, user: str | None, *, as_json: bool) -> None:
    """Comment on a post."""
    with ImagePosterClient(url, user) as client:
        _print(client.comment(post_id, text), as_json=as_json)


@click.command()
@click.option("--sort", type=click.Choice(["top", "new"]), default="top", show_default=True)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--cursor", help="Go on where the page before ended.")
@client_options
def feed(
    sort: str, limit: int, cursor: str | None, url: str, user: str | None, *, as_json: bool
) -> None:
    """Read the feed."""
    with ImagePosterClient(url, user) as client:
        page = client.feed(sort=sort, limit=limit, cursor=cursor)
    if as_json:
        click.echo(msgspec.json.encode(page))
        return
    for shown in page.posts:
        _print(shown, as_json=False)
    if not page.posts:
        click.echo("no posts here yet")
    if page.next:
        click.echo(f"more: --cursor {page.next}")


@click.command()
@click.argument("post_id")
@client_options
def show(post_id: str, url: str, user: str | None, *, as_json: bool) -> None:
    """Show one post."""
    with ImagePosterClient(url, user) as client:
        _print(client.show(post_id), as_json=as_json)


@click.command()
@click.argument("post_id")
@client_options
def delete(post_id: str, url: str, user: str | None, *, as_json: bool) -> None:
    """Delete your own post, with its comments and pictures."""
    with ImagePosterClient(url, user) as client:
        client.delete(post_id)
    click.echo(msgspec.json.encode({"deleted": post_id}) if as_json else f"deleted {post_id}")


def _print(found: PostWithComments | Comment, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif isinstance(found, Comment):
        click.echo(f"{found.id}  {found.creator}: {found.content}")
    else:
        _print_post(found)


def _print_post(found: PostWithComments) -> None:
    status = "" if found.status is PostStatus.READY else f"  [{found.status}]"
    click.echo(f"{found.id}  {found.creator}  {found.total_comments} comments{status}")
    if found.caption:
        click.echo(f"    {found.caption}")
    if found.image is not None:
        click.echo(f"    {found.image.url}")
    for said in found.latest_comments:
        click.echo(f"      {said.creator}: {said.content}")


COMMANDS = [post, comment, feed, show, delete]
