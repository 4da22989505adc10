"""What operators do on a data folder, beside a running server or without one."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from image_poster.adapters.oidc import new_key, own_token
from image_poster.editions import StartError
from image_poster.editions.local import revocations
from image_poster.editions.local.container import Container, check_token_key, open_container
from image_poster.editions.local.data_folder import (
    database_path,
    replace_token_key,
    token_key,
)
from image_poster.editions.local.settings import Settings
from image_poster.ports.jobs import ParkedJob
from image_poster.services.maintenance import Rebuilt

Result = TypeVar("Result")

_DAY_SECONDS = 86_400
_LEAST_FREE_BYTES = 1_000_000_000


def rebuild(settings: Settings) -> Rebuilt:
    """Derive counts and latest comments anew."""
    return with_container(settings, lambda container: container.rebuilder.rebuild())


def parked(settings: Settings) -> list[ParkedJob]:
    """The dead-letter place."""
    return with_container(settings, lambda container: container.jobs.parked())


def replay(settings: Settings) -> list[str]:
    """Make every parked job due again; the ids of their posts."""

    async def replay_all(container: Container) -> list[str]:
        waiting = await container.jobs.parked()
        return [job.post_id for job in waiting if await container.jobs.replay(job.post_id)]

    return with_container(settings, replay_all)


def token(settings: Settings, user: str, *, days: int, admin: bool) -> str:
    """A token of the service's own for `user`, good for so many days. Raises `StartError`."""
    _require_database(settings)
    key = token_key(settings.data_dir, new_key)
    check_token_key(key)
    series = revocations.find_series(settings.data_dir, user)
    return own_token(key, user, seconds=days * _DAY_SECONDS, admin=admin, series=series)


def revoke_user(settings: Settings, user: str) -> None:
    """No token of the service's own that `user` has so far holds any longer, also while it serves.
    Raises `StartError`."""
    _require_database(settings)
    revocations.revoke_user(settings.data_dir, user)


def revoke_tokens(settings: Settings) -> None:
    """No token of the service's own that was made so far holds any longer, also while it serves.
    Raises `StartError`."""
    _require_database(settings)
    replace_token_key(settings.data_dir, new_key)


def restore_quarantine(settings: Settings) -> int:
    """Put back the files in quarantine whose posts are known; how many there were."""
    return with_container(settings, lambda container: container.sweeper.put_back())


def with_container(settings: Settings, action: Callable[[Container], Awaitable[Result]]) -> Result:
    """What `action` gives, beside a running server or without one. Raises `StartError`."""

    async def run() -> Result:
        async with open_container(settings) as container:
            return await action(container)

    _require_database(settings)
    return uvloop.run(run())


def _require_database(settings: Settings) -> None:
    """Nothing is made in a folder that was named by mistake. Raises `StartError`."""
    if not database_path(settings.data_dir).exists():
        raise StartError(
            f"there is no database in {settings.data_dir}: pass --data-dir, or serve there first."
        )
