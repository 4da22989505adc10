"""`python -m lambda_zips`: build dist/api.zip, image.zip, stream.zip, healing.zip and
events.zip, and print their sizes.

It also writes a software bill of materials of each, and of the one-machine edition
(dist/*.cdx.json).
"""

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from lambda_zips.build import ROOT, build, one_machine, python_for, runnable_here, zipped
from lambda_zips.contents import LAMBDA, LAMBDA_PYTHON, PACKAGES, Package
from lambda_zips.measure import best_import_ms, folder_bytes
from lambda_zips.sbom import write_sbom

_MB = 1_000_000
# Lambda quotas, "Deployment package size".
_MOST_UNZIPPED = 250 * 1024 * 1024


class Bound(NamedTuple):
    """The most bytes of the zip, and the longest cold import in milliseconds. The duration depends
    on the machine, so a longer one is reported and does not prevent a deployment."""

    zip_bytes: int
    import_ms: float


BOUNDS = {
    "api": Bound(15 * _MB, 400),
    "image": Bound(40 * _MB, 400),
    "stream": Bound(5 * _MB, 300),
    "healing": Bound(5 * _MB, 300),
    "events": Bound(10 * _MB, 400),
}


def main() -> None:
    """Build all packages; exit with code 1 if one is too large."""
    shown = f"cold import, Python {runnable_here().python}"
    print(f"{'':8} {'zip':>10} {'unzipped':>10} {shown:>36}")
    dist = ROOT / "dist"
    well = [_make(package, dist) for package in PACKAGES]
    with tempfile.TemporaryDirectory() as name:
        write_sbom(one_machine(Path(name)), dist / "server.cdx.json")
    if python_for(LAMBDA) is None:
        print(
            f"no python{LAMBDA_PYTHON} on this machine: the packages have no bytecode, and cold "
            "starts take longer. Install it, or say where it is: LAMBDA_PYTHON=…",
            file=sys.stderr,
        )
    sys.exit(not all(well))


def _make(package: Package, into: Path) -> bool:
    with tempfile.TemporaryDirectory() as name:
        ours = build(package, LAMBDA, Path(name, "lambda"))
        archive = zipped(ours, into / f"{package.name}.zip")
        unzipped = folder_bytes(ours)
        write_sbom(ours, into / f"{package.name}.cdx.json")
        here = runnable_here()
        folder = build(package, here, Path(name, "here"))
        took = best_import_ms(python_for(here) or sys.executable, folder, package)
    size, bound = archive.stat().st_size, BOUNDS[package.name]
    well = size <= bound.zip_bytes and unzipped <= _MOST_UNZIPPED
    remark = "ok" if well else f"OVER {bound.zip_bytes / _MB:.0f} MB"
    if took > bound.import_ms:
        remark += f", SLOW: over {bound.import_ms:.0f} ms on this machine"
    print(
        f"{package.name:8} {size / _MB:7.1f} MB {unzipped / _MB:7.1f} MB {took:33.0f} ms  {remark}"
    )
    return well


if __name__ == "__main__":
    main()
