"""The ports, made of something: one folder a technology, the same file names in each. None knows
another."""
