"""One machine: SQLite, files, libvips and Granian.

settings    every setting, with its default and its rule
service     which class stands for which port, and the work in the background
server      an ASGI app on a socket, until it is told to stop
serve       one process       supervisor   several on one data folder
operate     the operators' commands, beside a running server or without one
"""
