"""The contract over HTTP, the same for every edition: a Litestar app over the services.

posts, comments, feed, images, uploads     routes of a noun, and its shapes on the wire
operations, metrics                        routes for operators
app                                        puts it together
middleware                                 what happens around every request
auth                                       who is asking
requests, multipart, idempotency           reading what was sent
responses, ranges                          answering
problems                                   errors as RFC 9457 problem details
openapi                                    the document, and the page to read it
"""
