"""The services' interfaces to the outside, one module a noun. Each docstring is a contract, tested
by the suite in `tests/contract/ports` for every adapter and for the fakes in `tests/fakes`.

Services need ports because they may not import adapters. If only one edition has an implementation,
the port's docstring says so.

Two rules hold for every port. A write is durable when its call returns normally. Adapters translate
foreign errors to those of `domain/errors.py`.
"""
