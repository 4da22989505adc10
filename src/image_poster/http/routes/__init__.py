"""One handler an endpoint: parse, call one use case, answer."""
