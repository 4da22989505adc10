"""How a call can fail.

ClientError
├── RefusedError      the service said no: asking again the same way will not help
└── GaveUpError       the service could not be reached, or was not able to, for too long
    └── InUseError    the same upload is going on in another process
"""


class ClientError(Exception):
    """Base of all."""


class RefusedError(ClientError):
    """The service said no: `status` and `code` are the problem's, the text says what to do."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(f"{detail} ({code})")


class GaveUpError(ClientError):
    """Tried for as long as patience lasted. An upload goes on where it was when it is asked for
    again; anything else may or may not have happened."""


class InUseError(GaveUpError):
    """Another process is uploading this very file."""
