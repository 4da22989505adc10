"""The contract over HTTP, the same for every edition: a Litestar app over the services.

- posts, comments, feed, images, uploads: the routes of each resource, and its JSON bodies
- operations, metrics: routes for operators
- app: creates the app from the other modules
- middleware: processing around every request
- auth: identification of the caller
- requests, multipart, idempotency: reading requests
- responses, ranges: building responses
- problems: errors as RFC 9457 problem details
- openapi: the OpenAPI document, and the page to read it
"""
