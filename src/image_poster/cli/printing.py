"""How posts and comments are printed."""

import click
import msgspec

from image_poster.domain.comments import Comment
from image_poster.domain.posts import PostStatus, PostWithComments


def print_found(found: PostWithComments | Comment, *, as_json: bool) -> None:
    """As JSON on one line, or for people."""
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif isinstance(found, Comment):
        click.echo(f"{found.id}  {found.creator}: {found.content}")
    else:
        _show_post(found)


def _show_post(found: PostWithComments) -> None:
    status = "" if found.status is PostStatus.READY else f"  [{found.status}]"
    click.echo(f"{found.id}  {found.creator}  {found.total_comments} comments{status}")
    if found.caption:
        click.echo(f"    {found.caption}")
    if found.image is not None:
        click.echo(f"    {found.image.url}")
    for said in found.latest_comments:
        click.echo(f"      {said.creator}: {said.content}")
