"""The composition roots: the only places that name concrete classes."""
