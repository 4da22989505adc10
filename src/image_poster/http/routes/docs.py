"""The API's documentation, served from this machine: it works without the internet."""

from pathlib import Path

from litestar import MediaType, Response, get
from litestar.params import FromPath
from litestar.response import Redirect
from swagger_ui_bundle import swagger_ui_path

from image_poster.domain.errors import RouteNotFoundError
from image_poster.http.documents import encoded_document
from image_poster.http.replies import json_reply
from image_poster.http.requests import AnyRequest

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>image-poster-api</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs"})</script>
</body>
</html>
"""


@get("/openapi.json", include_in_schema=False)
async def get_openapi(request: AnyRequest) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return json_reply(encoded_document(request.app))


@get("/docs", include_in_schema=False)
async def get_docs() -> Response[str]:
    """A page to read and try the API."""
    return Response(_PAGE, media_type=MediaType.HTML)


@get("/docs/{asset:str}", include_in_schema=False, sync_to_thread=True)
def get_docs_asset(asset: FromPath[str]) -> Response[bytes]:
    """Files of Swagger UI, from its package."""
    if asset not in _ASSETS:
        raise RouteNotFoundError
    content = Path(swagger_ui_path, asset).read_bytes()
    headers = {"cache-control": "public, max-age=86400"}
    return Response(content, media_type=_ASSETS[asset], headers=headers)


@get("/", include_in_schema=False)
async def get_root() -> Redirect:
    """Until the gallery lives here."""
    return Redirect("/docs", status_code=307)


ROUTES = [get_openapi, get_docs, get_docs_asset, get_root]
