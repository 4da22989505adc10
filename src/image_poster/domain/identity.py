"""The caller's identity and permissions."""

import msgspec

from image_poster.domain.errors import NotYoursError

# The issuer and the audience of the service's own tokens: no URL, so no other issuer is called so.
OWN_ISSUER = "image-poster"
NOT_FOR_ACCESS = "The bearer token is not an access token. Send the access token of your sign-in."


class Identity(msgspec.Struct, frozen=True):
    """A caller: their user id, True if they are an admin, and a display name (empty: as `user`)."""

    user: str
    admin: bool = False
    display_name: str = ""

    @property
    def name(self) -> str:
        """The display name."""
        return self.display_name or self.user

    def require(self, *owners: str) -> None:
        """Pass admins and the `owners`; raise `NotYoursError` for anyone else."""
        if not self.admin and self.user not in owners:
            raise NotYoursError
