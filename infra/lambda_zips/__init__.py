"""The packages of the Lambdas, built without Docker: `make package`.

- `contents`: the contents of each package
- `lock`: the locked releases and their hashes
- `build`: wheels for Lambda's processor, our own code, bytecode, a zip
- `sbom`: the software bill of materials of each package (CycloneDX)
- `measure`: the duration of a cold import
"""
