"""How a call can fail."""


class ClientError(Exception):
    """Base of both."""


class RefusedError(ClientError):
    """The service said no: `status` and `code` are the problem's, the text says what to do."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{detail} ({code})")


class GaveUpError(ClientError):
    """The service could not be reached, or broke off; what was asked may or may not have
    happened."""
