"""The three Lambdas' packages, made without Docker: `make package`.

contents   what goes into each
lock       the releases and hashes that are taken
build      wheels for Lambda's processor, our own code, bytecode, a zip
sbom       what is in each, as a list for programs (CycloneDX)
measure    how long a cold import takes
"""
