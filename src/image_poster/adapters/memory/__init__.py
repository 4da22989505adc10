"""Everything in this process's memory: for unit tests, and to try the service without a disk."""
