"""Requests as an Insomnia collection: export format 4, which Insomnia has read since 2017."""

import json
import re
from base64 import b64encode
from typing import Any

from api_document import Document
from collection_requests import FORM, JSON, Request, token_variable

WORKSPACE, ENVIRONMENT = "wrk_image_poster", "env_image_poster"
# In what order the export lists things, and an id made from their names: so that a second export
# of the same document is the same file.
EXPORTED = "2026-11-25T00:00:00.000Z"


def insomnia_collection(
    document: Document, requests: list[Request], variables: dict[str, str]
) -> str:
    """Return the content of the file to import."""
    references = {
        name: f"{{% response 'body', 'req_{request.name}', '{_encoded(path)}', 'no-history', 60 %}}"
        for request in requests
        for name, path in request.keeps.items()
    }
    resources = [
        _workspace(document),
        _environment(variables),
        *(_folder(tag, meaning) for tag, meaning in document.tags.items()),
        *(_request(number, request, references) for number, request in enumerate(requests)),
    ]
    export = {
        "_type": "export",
        "__export_format": 4,
        "__export_date": EXPORTED,
        "__export_source": "image-poster-api: make collection",
        "resources": resources,
    }
    return json.dumps(export, indent=2) + "\n"


def _encoded(path: str) -> str:
    """Encode a JSONPath like Insomnia's editor, so that no quote can end the tag's argument."""
    return f"b64::{b64encode(f'$.{path}'.encode()).decode()}::46b"


def _workspace(document: Document) -> dict[str, Any]:
    return {
        "_id": WORKSPACE,
        "_type": "workspace",
        "parentId": None,
        "name": document.title,
        "description": (
            "Made from the OpenAPI document. Send the requests from top to bottom; files "
            "to send are named photo.jpg: choose one of yours."
        ),
        "scope": "collection",
    }


def _environment(variables: dict[str, str]) -> dict[str, Any]:
    data = {**variables, "photo_size": int(variables["photo_size"])}
    return {
        "_id": ENVIRONMENT,
        "_type": "environment",
        "parentId": WORKSPACE,
        "name": "Base Environment",
        "data": data,
    }


def _folder(tag: str, meaning: str) -> dict[str, Any]:
    return {
        "_id": f"fld_{tag}",
        "_type": "request_group",
        "parentId": WORKSPACE,
        "name": tag.capitalize(),
        "description": meaning,
    }


def _request(number: int, request: Request, references: dict[str, str]) -> dict[str, Any]:
    def expand(text: str) -> str:
        return _expand(text, references)

    return {
        "_id": f"req_{request.name}",
        "_type": "request",
        "parentId": f"fld_{request.tag}",
        "metaSortKey": number,
        "name": request.title,
        "description": f"{request.status} is success.",
        "method": request.method,
        "url": "{{ _.base_url }}" + expand(f"{{{request.url}}}" if request.url else request.path),
        "parameters": [
            {"name": name, "value": expand(value)} for name, value in request.query.items()
        ],
        "headers": _headers(request, references),
        "body": _body(request, references),
    }


def _headers(request: Request, references: dict[str, str]) -> list[dict[str, Any]]:
    headers: list[dict[str, Any]] = [
        {"name": name, "value": _expand(value, references)}
        for name, value in request.headers.items()
    ]
    if request.says_who:
        headers.append({"name": "user-id", "value": f"{{{{ _.{request.sender} }}}}"})
        token = f"Bearer {{{{ _.{token_variable(request.sender)} }}}}"
        headers.append({"name": "Authorization", "value": token, "disabled": True})
    if request.media_type and request.media_type != FORM:
        headers.append({"name": "Content-Type", "value": request.media_type})
    return headers


def _body(request: Request, references: dict[str, str]) -> dict[str, Any]:
    if not request.media_type:
        return {}
    if request.media_type == JSON:
        text = _expand(json.dumps(request.body, indent=2), references)
        return {"mimeType": JSON, "text": text}
    if request.media_type == FORM:
        texts = [{"name": name, "value": value} for name, value in request.body.items()]
        image = {"name": "image", "type": "file", "fileName": request.file}
        return {"mimeType": FORM, "params": [image, *texts]}
    return {"mimeType": request.media_type, "fileName": request.file}


def _expand(text: str, references: dict[str, str]) -> str:
    """Write variables in Insomnia's syntax; sizes are numbers, also in JSON."""
    text = text.replace('"{photo_size}"', "{photo_size}").replace("{key}", "{% uuid 'v4' %}")
    known = r"(?<!\{)\{(\w+)\}(?!\})"
    return re.sub(known, lambda name: references.get(name[1], f"{{{{ _.{name[1]} }}}}"), text)
