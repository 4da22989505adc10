"""Installed files are the locked ones, each by its hash."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lambda_zips.lock import Pin, normalized, read_lock

ROOT = Path(__file__).parents[2]
ALL, SERVER, BUILD = "constraints.txt", "locks/server.txt", "locks/build.txt"
FUZZ = "locks/fuzz.txt"  # beside all: its one library has no wheels for every machine
AWS_TOOLS = ("checkov", "sam")
# Each into an environment of its own, since they ask for other releases.
APART = [f"locks/{tool}.txt" for tool in AWS_TOOLS]
# Litestar's, which nothing imports (docs/decisions/0018).
LEFT_OUT = {"polyfactory", "faker"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLAIN: list[str] = PYPROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
GROUPS: dict[str, list[str]] = PYPROJECT["dependency-groups"]
ASKED = {
    ALL: [
        *PLAIN,
        *EXTRAS["server"],
        *EXTRAS["aws"],
        *GROUPS["dev"],
        *GROUPS["docs"],
        *GROUPS["bench"],
    ],
    SERVER: [*PLAIN, *EXTRAS["server"]],
    BUILD: [*GROUPS["build"], *PYPROJECT["build-system"]["requires"]],
    FUZZ: GROUPS["fuzz"],
    **{f"locks/{tool}.txt": GROUPS[tool] for tool in AWS_TOOLS},
}


@pytest.fixture(params=ASKED)
def lock(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pins(lock: str) -> dict[str, Pin]:
    return read_lock(ROOT / lock)


def test_every_line_of_a_lock_is_a_release_with_hashes_and_names_no_place(
    lock: str, pins: dict[str, Pin]
) -> None:
    text = (ROOT / lock).read_text()
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(pins) == sum(not line.startswith(" ") for line in lines)
    assert len(lines) == len(pins) + text.count("--hash=sha256:")
    assert all(pin.hashes for pin in pins.values())
    assert not re.search(r"://|index-url|find-links|trusted-host", text)


def test_a_lock_has_what_pyproject_asks_for(lock: str, pins: dict[str, Pin]) -> None:
    for requirement in map(Requirement, ASKED[lock]):
        pin = pins[normalized(requirement.name)]
        assert Version(pin.version) in requirement.specifier, requirement


@pytest.mark.parametrize("lock", [lock for lock in ASKED if lock not in APART])
def test_one_release_and_the_same_files_of_it_in_all_locks(pins: dict[str, Pin]) -> None:
    everything = read_lock(ROOT / ALL) | read_lock(ROOT / FUZZ)
    assert {name: everything[name] for name in pins} == pins


def test_what_nothing_imports_is_not_installed(pins: dict[str, Pin]) -> None:
    assert not LEFT_OUT & set(pins)
    assert not LEFT_OUT & {normalized(path.name.partition("-")[0]) for path in site_packages()}


def site_packages() -> Iterator[Path]:
    return Path(sys.prefix).glob("lib/python*/site-packages/*.dist-info")


def test_a_lock_that_pins_a_name_twice_is_refused(tmp_path: Path) -> None:
    twice = tmp_path / "lock.txt"
    twice.write_text("six==1 \\\n    --hash=sha256:00\nsix==2 \\\n    --hash=sha256:01\n")
    with pytest.raises(ValueError, match="pins six twice"):
        read_lock(twice)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the Makefile beside locks of its own, and a wheel that they name."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    (folder / "locks").mkdir()
    (folder / "wheels").mkdir()
    tiny_wheel(folder / "wheels" / "tiny-1-py3-none-any.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / ".venv")], check=True)
    return folder


def tiny_wheel(path: Path) -> None:
    files = {
        "tiny.py": b"",
        "tiny-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny-1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: urlsafe_b64encode(sha256(body).digest()) for name, body in files.items()}
    record = [f"{name},sha256={it.decode().rstrip('=')}," for name, it in digests.items()]
    with zipfile.ZipFile(path, "w") as wheel:
        for name, body in files.items():
            wheel.writestr(name, body)
        wheel.writestr("tiny-1.dist-info/RECORD", "\n".join([*record, "tiny-1.dist-info/RECORD,,"]))


def make_installed(project: Path, hashes: str) -> subprocess.CompletedProcess[str]:
    """`make .venv/dependencies` where both locks name the wheel with these hashes."""
    for lock in (SERVER, BUILD):
        (project / lock).write_text(f"tiny==1{hashes}\n")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "wheels", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        ["make", ".venv/dependencies"],
        cwd=project,
        env={**clean, **offline},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_installs_no_file_without_the_hash_that_is_locked(project: Path) -> None:
    other = make_installed(project, f" --hash=sha256:{'0' * 64}")
    assert other.returncode
    assert "DO NOT MATCH THE HASHES" in other.stderr
    none = make_installed(project, "")
    assert none.returncode
    assert "Hashes are required" in none.stderr
    assert not list(project.glob(".venv/lib/*/site-packages/tiny.py"))
    right = sha256((project / "wheels" / "tiny-1-py3-none-any.whl").read_bytes()).hexdigest()
    well = make_installed(project, f" --hash=sha256:{right}")
    assert well.returncode == 0, well.stderr
    assert list(project.glob(".venv/lib/*/site-packages/tiny.py"))


def test_every_install_of_the_makefile_is_by_hash_but_that_of_this_project() -> None:
    whole_lines = (ROOT / "Makefile").read_text().replace("\\\n", "")
    recipes = [line.strip() for line in whole_lines.splitlines() if line[:1] == "\t"]
    installs = [line for line in recipes if "$(INSTALL)" in line or "pip" in line.split()]
    assert len(installs) >= len(ASKED)
    for line in installs:
        assert "--require-hashes --requirement" in line or line == (
            "$(INSTALL) --editable '.[server]'"
        )
