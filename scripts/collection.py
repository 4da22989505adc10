"""Sample requests from the OpenAPI document: `make collection`.

docs/collection/ gets an `.http` file (for httpYac and the REST clients of editors) and an Insomnia
collection. Both have the same requests in the same order; run from top to bottom, all of them
succeed.
"""

import json
from pathlib import Path

import api_document
from collection_requests import IMAGE, requests, token_variable
from http_file import http_file
from insomnia import insomnia_collection

FOLDER = Path(__file__).parents[1] / "docs" / "collection"


def files() -> dict[str, str]:
    """Return the content of each file of the folder, by name."""
    document = api_document.read()
    sent_requests = requests(document)
    users = {"user": "alice", "other": "bob", "admin": "root"}
    tokens = {token_variable(sender): "" for sender in users}
    variables = {"base_url": "http://127.0.0.1:8080", **users, **tokens}
    variables["photo_size"] = str((FOLDER / IMAGE).stat().st_size)
    return {
        "image-poster.http": http_file(document, sent_requests),
        "http-client.env.json": json.dumps({"local": variables}, indent=2) + "\n",
        "insomnia.json": insomnia_collection(document, sent_requests, variables),
    }


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
        print(f"docs/collection/{name}")
