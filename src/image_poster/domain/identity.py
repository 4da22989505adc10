"""Who is asking, and what that lets them do."""

import msgspec

from image_poster.domain.errors import NotYoursError


class Identity(msgspec.Struct, frozen=True):
    """A caller: the name that their posts and comments carry, and whether they are an admin."""

    user: str
    admin: bool = False

    def require(self, *owners: str) -> None:
        """Pass admins and the `owners`; raise `NotYoursError` for anyone else."""
        if not self.admin and self.user not in owners:
            raise NotYoursError
