"""The contract over HTTP, the same for every edition: a Litestar app over the use cases.

app         puts it together          edge       what happens around every request
routes/     one handler an endpoint   problems   errors as RFC 9457 problem details
auth        who is asking             bodies, multipart   reading what was sent
replies     answering                 documents  what the OpenAPI document says
"""
