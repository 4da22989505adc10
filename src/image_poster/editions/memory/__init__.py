"""The in-memory edition: the whole contract without a disk, for tests and for trying things out."""
