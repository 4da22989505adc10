"""The tus resumable upload protocol, version 1.0.0, without I/O.

Source: https://tus.io/protocols/resumable-upload (1.0.0, 2016-03-25); rules cite its section.

    headers     headers in, values out
    decisions   a request and an upload's state in, the action out

Both editions call it; it uses neither HTTP frameworks nor stores. Its errors are in
`domain/errors.py`.
"""

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "termination",
    "checksum",
)
CHECKSUM_ALGORITHMS = ("sha1", "sha256")
CONTENT_TYPE = "application/offset+octet-stream"
