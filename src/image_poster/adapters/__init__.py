"""Adapters: implementations of the ports, one folder a technology, with the same file names in
each. No folder imports another."""
