"""The contract over HTTP, the same for every edition: a Litestar app over the services.

- posts, comments, feed, images, uploads, moderation, accounts: the routes of each resource, and its
  JSON bodies; reports are in accounts
- post_bodies: the JSON bodies of posts, which several resources show
- operations, metrics, gallery: routes for operators and for people
- app: creates the app from the other modules
- middleware, encoding: processing around every request
- auth, addresses: the caller, and its address
- requests, multipart: reading requests
- responses: building responses, and sending them to slow clients
- problems: errors as RFC 9457 problem details
- openapi: the documentation of routes
"""
