"""The mark of a data folder: the file `folder.json`, by which the service knows its own folder.

The mark holds the folder's id. A backup names its source by this id, so two services never share a
backup's target by mistake.
"""

from pathlib import Path

import msgspec

from image_poster.adapters.files.durable import sync
from image_poster.domain.ids import is_id, new_id
from image_poster.editions import StartError

MARK_NAME = "folder.json"
_FORMAT = 1
_REPAIR = "Restore it from a backup, or delete it: the next start creates a new id."


class FolderMark(msgspec.Struct, frozen=True):
    """The content of the mark: the version of its format, and the folder's id (a ULID)."""

    format: int
    id: str


def read_mark(data_dir: Path) -> FolderMark | None:
    """Return the folder's mark, or None if it has none. Raises `StartError` for a damaged mark."""
    path = data_dir / MARK_NAME
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=FolderMark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        raise StartError(f"the mark {path} cannot be read: {exc}. {_REPAIR}") from exc
    if mark.format != _FORMAT or not is_id(mark.id):
        raise StartError(f"the mark {path} is damaged. {_REPAIR}")
    return mark


def write_mark(data_dir: Path, folder_id: str | None = None) -> FolderMark:
    """Create the mark durably, with this id or a new one. Raises `OSError`."""
    mark = FolderMark(_FORMAT, folder_id or new_id())
    path = data_dir / MARK_NAME
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(mark))
    sync(fresh)
    fresh.replace(path)
    sync(data_dir)
    return mark
