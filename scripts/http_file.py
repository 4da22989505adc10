"""Requests as an `.http` file, in the dialect of httpYac."""

import json
import re
from collections.abc import Iterator

from api_document import Document
from collection_requests import FORM, Request, token_variable

BOUNDARY = "image-poster"
HEAD = """\
# Requests to {title}, made from its OpenAPI document by `make collection`: do not edit.
#
# In VS Code with the extension httpYac, or from a terminal (npm install httpyac):
#     httpyac send image-poster.http --all --env local
# They are made to be run from top to bottom. http-client.env.json says where the service is and who
# you are; for bearer tokens, take away the # before Authorization and put one before user-id.
# Some requests need an admin: start the service with --admins root.
#
# Each POST has a new Idempotency-Key. A program makes a key for each thing that it wants to exist,
# and sends the same one when it sends the same request again.
"""


def http_file(document: Document, requests: list[Request]) -> str:
    """Return the content of the file."""
    return "\n".join(
        [HEAD.format(title=document.title), *(_section(request) for request in requests)]
    )


def _section(request: Request) -> str:
    return "\n".join(_lines(request)) + "\n"


def _lines(request: Request) -> Iterator[str]:
    yield f"### {request.tag}: {request.title}"
    yield f"# @name {request.name}"
    yield f"{request.method} {_url(request)}"
    yield from _headers(request)
    if request.media_type:
        yield ""
        yield from _body(request)
    yield ""
    yield f"?? status == {request.status}"
    for name, path in request.keeps.items():
        value = f"{request.name}.{path}"
        if name.endswith("_url"):
            value = f"new URL({value}, base_url).href"
        yield f"@{name} = {{{{{value}}}}}"


def _url(request: Request) -> str:
    if request.url:
        return _filled(f"{{{request.url}}}")
    query = "&".join(f"{name}={value}" for name, value in request.query.items())
    return "{{base_url}}" + _filled(request.path + (query and f"?{query}"))


def _headers(request: Request) -> Iterator[str]:
    if request.says_who:
        yield f"user-id: {{{{{request.sender}}}}}"
        yield f"# Authorization: Bearer {{{{{token_variable(request.sender)}}}}}"
    for name, value in request.headers.items():
        yield f"{name}: {_filled(value)}"
    if request.media_type:
        form = f"; boundary={BOUNDARY}" if request.media_type == FORM else ""
        yield f"Content-Type: {request.media_type}{form}"


def _body(request: Request) -> Iterator[str]:
    if request.media_type == FORM:
        yield from _form(request)
    elif request.file:
        yield f"< ./{request.file}"
    else:
        yield _filled(json.dumps(request.body, indent=2))


def _form(request: Request) -> Iterator[str]:
    yield f"--{BOUNDARY}"
    yield f'Content-Disposition: form-data; name="image"; filename="{request.file}"'
    yield from ("Content-Type: image/jpeg", "", f"< ./{request.file}")
    for name, value in request.body.items():
        yield f"--{BOUNDARY}"
        yield from (f'Content-Disposition: form-data; name="{name}"', "", value)
    yield f"--{BOUNDARY}--"


def _filled(text: str) -> str:
    """Write variables in httpYac's syntax; sizes are numbers, also in JSON."""
    text = text.replace('"{photo_size}"', "{photo_size}").replace("{key}", "{{$uuid}}")
    return re.sub(r"(?<!\{)\{(\w+)\}(?!\})", r"{{\1}}", text)
