"""The operations of the API and of background work. Each module is about one noun, and each of its
services is a frozen dataclass of the ports that it needs. `registry.py` wires those that the
API calls."""
