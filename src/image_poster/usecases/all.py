"""All use cases of the API as one value, for the HTTP layer to call."""

from dataclasses import dataclass

from image_poster.domain.limits import Limits
from image_poster.domain.pages import CursorSigner
from image_poster.ports.clock import Clock
from image_poster.ports.comments import CommentStore
from image_poster.ports.feed import FeedReader
from image_poster.ports.images import ImageStore
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import PutUrlSigner, UploadRecordStore, UploadStore
from image_poster.usecases.add_comment import AddComment
from image_poster.usecases.complete_upload import CompleteUpload
from image_poster.usecases.create_post import CreatePost
from image_poster.usecases.delete_comment import DeleteComment
from image_poster.usecases.delete_post import DeletePost
from image_poster.usecases.edit_comment import EditComment
from image_poster.usecases.edit_post import EditPost
from image_poster.usecases.end_upload import TerminateUpload
from image_poster.usecases.get_post import GetPost
from image_poster.usecases.list_comments import ListComments
from image_poster.usecases.list_feed import ListFeed
from image_poster.usecases.read_picture import ReadPicture
from image_poster.usecases.receive_upload import ReceiveUpload
from image_poster.usecases.reserve_upload import ReserveUpload


@dataclass(frozen=True)
class Stores:
    """The ports that the API's use cases stand on; an edition fills them with its adapters."""

    posts: PostStore
    comments: CommentStore
    feed: FeedReader
    pictures: ImageStore
    uploads: UploadStore
    ledger: UploadRecordStore
    put_urls: PutUrlSigner
    clock: Clock


@dataclass(frozen=True)
class UseCases:
    """What the API can do."""

    create_post: CreatePost
    get_post: GetPost
    edit_post: EditPost
    delete_post: DeletePost
    list_feed: ListFeed
    add_comment: AddComment
    edit_comment: EditComment
    delete_comment: DeleteComment
    list_comments: ListComments
    read_picture: ReadPicture
    reserve_upload: ReserveUpload
    receive_upload: ReceiveUpload
    terminate_upload: TerminateUpload
    pictures: ImageStore
    clock: Clock
    limits: Limits


def use_cases(
    stores: Stores, limits: Limits, cursors: CursorSigner, *, wait_poll_seconds: float = 0.05
) -> UseCases:
    """The use cases over one edition's stores; who waits for a post has it looked at again every
    `wait_poll_seconds`."""
    get_post = GetPost(stores.posts, stores.pictures, wait_poll_seconds)
    delete_post = DeletePost(stores.posts, stores.pictures)
    receive_upload = ReceiveUpload(
        stores.ledger,
        stores.uploads,
        CompleteUpload(stores.posts, stores.uploads),
        stores.clock,
        limits,
    )
    return UseCases(
        create_post=CreatePost(stores.posts, stores.pictures, stores.clock, limits),
        get_post=get_post,
        edit_post=EditPost(stores.posts, stores.clock, limits),
        delete_post=delete_post,
        list_feed=ListFeed(stores.feed, cursors),
        add_comment=AddComment(stores.comments, stores.clock, limits),
        edit_comment=EditComment(stores.comments, stores.clock, limits),
        delete_comment=DeleteComment(stores.comments),
        list_comments=ListComments(get_post, stores.comments, cursors),
        read_picture=ReadPicture(get_post, stores.posts, stores.pictures),
        reserve_upload=ReserveUpload(stores.posts, stores.put_urls, stores.clock, limits),
        receive_upload=receive_upload,
        terminate_upload=TerminateUpload(receive_upload, delete_post),
        pictures=stores.pictures,
        clock=stores.clock,
        limits=limits,
    )
