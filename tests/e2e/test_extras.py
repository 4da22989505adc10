"""The package with and without its extras, each installed in a venv that has nothing else."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from lambda_zips.contents import PACKAGES
from lambda_zips.measure import ENVIRONMENT
from support import samples
from support.imports import PROBE
from support.installed import build_wheel, install, installed
from support.servers import local_server, running

LOCAL = "image_poster.editions.local"
SERVING = (f"{LOCAL}.serve", f"{LOCAL}.doctor", "image_poster.cli.main")
NO_AWS = {"AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("plain"))


def run(binaries: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of that venv, where nothing of ours can be imported but what is installed."""
    return subprocess.run(
        [str(binaries / words[0]), *map(str, words[1:])],
        cwd=binaries,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def imports_all(binaries: Path, *modules: str) -> bool:
    """True if these modules can import all that they and their own imports need."""
    done = run(binaries, "python", "-W", "error", "-c", PROBE, *modules, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) > len(modules)


def test_the_package_alone_is_a_client(plain: Path) -> None:
    assert installed(plain) >= {
        *("image-poster-api", "click", "httpx", "msgspec", "platformdirs", "python-ulid", "rich")
    }
    servers = {"litestar", "granian", "structlog", "pyvips", "pillow", "prometheus-client"}
    assert not installed(plain) & {*servers, "multipart", "uvloop", "blurhash", "botocore"}
    assert imports_all(plain, "image_poster.client", "image_poster.cli.main")


@pytest.mark.parametrize(
    "command", ["post", "comment", "feed", "show", "delete", "takeout", "moderation", "decide"]
)
def test_commands_of_a_client_need_nothing_more(plain: Path, command: str) -> None:
    done = run(plain, "image-poster", command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: image-poster {command}")


def test_a_plain_installation_posts_comments_and_reads(plain: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(samples.jpeg())
    with local_server(tmp_path / "data") as server:
        as_alice = {
            "IMAGE_POSTER_URL": server.url,
            "IMAGE_POSTER_USER": "alice",
            "XDG_STATE_HOME": str(tmp_path),
        }
        posted = run(plain, "image-poster", "post", photo, "--json", **as_alice)
        assert posted.returncode == 0, posted.stderr
        post_id = json.loads(posted.stdout)["id"]
        assert run(plain, "image-poster", "comment", post_id, "Nice!", **as_alice).returncode == 0
        assert "alice: Nice!" in run(plain, "image-poster", "show", post_id, **as_alice).stdout
        assert post_id in run(plain, "image-poster", "feed", **as_alice).stdout
        assert run(plain, "image-poster", "delete", post_id, **as_alice).returncode == 0


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        *((words, "server") for words in ("serve", "openapi", "doctor", "rebuild", "failed")),
        *((words, "aws") for words in ("rebuild --stack dev", "failed --stack dev --replay")),
    ],
)
def test_a_command_without_its_extra_says_in_a_sentence_what_to_install(
    plain: Path, tmp_path: Path, words: str, extra: str
) -> None:
    done = run(plain, "image-poster", *words.split(), IMAGE_POSTER_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "image-poster: this command needs more than a client: "
        f"pip install 'image-poster-api[{extra}]'\n"
    )
    assert not (tmp_path / "data").exists()


def test_server_is_all_that_one_machine_needs(wheel: Path, tmp_path: Path) -> None:
    server = install(wheel, tmp_path / "venv", "server")
    assert not installed(server) & {"botocore", "mangum", "polyfactory", "faker"}
    assert imports_all(server, *SERVING)
    document = run(server, "image-poster", "openapi")
    assert json.loads(document.stdout)["paths"]["/posts"]
    data = {"IMAGE_POSTER_DATA_DIR": str(tmp_path / "data")}
    command = (str(server / "image-poster"), "serve")
    with running(command, "--data-dir", data["IMAGE_POSTER_DATA_DIR"]):
        assert run(server, "image-poster", "failed", **data).stdout == "nothing has failed\n"
    examined = run(server, "image-poster", "doctor", **data)
    assert examined.returncode == 0, examined.stdout + examined.stderr
    stack = run(server, "image-poster", "failed", "--stack", "dev")
    assert "image-poster-api[aws]" in stack.stderr


def test_aws_is_all_that_lambdas_and_stack_commands_need(wheel: Path, tmp_path: Path) -> None:
    aws = install(wheel, tmp_path / "venv", "aws")
    assert not installed(aws) & {"granian", "uvloop", "prometheus-client"}
    for package in PACKAGES:
        assert imports_all(aws, package.module)
    stack = run(aws, "image-poster", "failed", "--stack", "dev", **NO_AWS)
    assert stack.returncode == 2, stack.stderr
    assert "pip install" not in stack.stderr
    assert "Traceback" not in stack.stderr
    assert "image-poster-api[server]" in run(aws, "image-poster", "serve").stderr


def test_the_wheel_has_the_gallery(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    built = "image_poster/http/gallery/"
    assert f"{built}index.html" in names
    assert f"{built}service-worker.js.br" in names
