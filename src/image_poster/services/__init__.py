"""What users and the background can ask for: one module a noun, each a frozen dataclass of the
ports it needs. `container.py` wires those that the API calls."""
