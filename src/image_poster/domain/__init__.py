"""Pure rules: the data types of the service and the operations on them. No I/O, no clock, no
framework."""
