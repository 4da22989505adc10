"""Test users of a stack's own user pool, for trials and development.

https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-authentication-flow-methods.html:
`ADMIN_USER_PASSWORD_AUTH` signs in with the rights of an AWS profile. The template allows it in
stages that are not `prod`.
"""

import secrets
from contextlib import suppress

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.editions import StartError
from image_poster.editions.aws import container

_ADMINS = "admins"


def token(outputs: dict[str, str], name: str, *, admin: bool) -> str:
    """An access token of the user of this name, valid for an hour. Creates the user if there is
    none, and sets a new password. Raises `StartError`."""
    if outputs["Stage"] == "prod":
        raise StartError("tokens of test users are for stages that are not prod: sign in instead.")
    if "UserPool" not in outputs:
        raise StartError("this stack has no users of its own: get a token from its issuer.")
    try:
        return _signed_in(outputs["UserPool"], outputs["UserPoolClient"], name, admin=admin)
    except (ClientError, BotoCoreError) as exc:
        raise StartError(f"{name} cannot be signed in: {exc}") from exc


def _signed_in(pool: str, client_id: str, name: str, *, admin: bool) -> str:
    client = container.client("cognito-idp")
    with suppress(client.exceptions.UsernameExistsException):
        client.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    # The pool's default policy asks for upper and lower case, a digit and a symbol.
    password = f"{secrets.token_urlsafe(24)}aA1!"
    client.admin_set_user_password(
        UserPoolId=pool, Username=name, Password=password, Permanent=True
    )
    if admin:
        client.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=_ADMINS)
    answer = client.admin_initiate_auth(
        UserPoolId=pool,
        ClientId=client_id,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password},
    )
    return str(answer["AuthenticationResult"]["AccessToken"])
