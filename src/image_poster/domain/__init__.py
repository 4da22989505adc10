"""Pure rules: the shapes of things, and what may be done with them. No I/O, no clock, no
framework."""
