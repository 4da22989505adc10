"""The operations of the API and of background work: one module a noun, each a frozen dataclass of
the ports it needs. `registry.py` wires those that the API calls."""
