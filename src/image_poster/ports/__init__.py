"""What the services need from the outside, by noun; each docstring is the contract that the suite
in `tests/contract/ports` tests, for every adapter and for the fakes in `adapters/memory.py`.

Two rules hold for every port: whatever returns normally is durable, and foreign errors never come
out (adapters translate them to those of `domain/errors.py`).
"""
