"""What the use cases need from the outside: one small Protocol a file; its docstring is the
contract.

Each has an adapter in `adapters/memory` and in the technologies of each edition; all pass the suite
in `tests/contract`. Two rules hold for every port: whatever returns normally is durable, and
foreign errors never come out (they are translated to those of `domain/errors.py`).
"""
