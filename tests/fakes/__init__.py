"""In-memory implementations of the ports, for tests of the services. They pass the same suites in
`tests/contract/ports` as the adapters that ship."""
