"""The contents of each package, and the target Python and platform."""

from dataclasses import dataclass, replace

# As `Runtime` in infra/template.yaml.
LAMBDA_PYTHON = "3.13"


# Amazon Linux 2023 has glibc 2.34 (https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html).
GLIBC = 34


@dataclass(frozen=True)
class Target:
    """A Python version, such as `3.13`, and the platform tags of its wheels (none: this
    machine's)."""

    python: str
    platforms: tuple[str, ...] = ()


def on_linux(python: str, machine: str, glibc: int) -> Target:
    """Return a target that takes wheels for glibc 2.`glibc` or an older one (PEP 600)."""
    tags = (f"manylinux_2_{minor}_{machine}" for minor in range(glibc, 16, -1))
    return Target(python, (*tags, f"manylinux2014_{machine}"))


LAMBDA = on_linux(LAMBDA_PYTHON, "aarch64", GLIBC)


@dataclass(frozen=True)
class Package:
    """A Lambda's package.

    - handler: the function that Lambda calls, as `Handler` in infra/template.yaml
    - distributions: distributions of PyPI that have wheels, locked in constraints.txt
    - services: the AWS services that botocore must know
    - without: parts of image_poster that the Lambda never imports
    - sources: distributions of pure Python without wheels, also locked in constraints.txt
    """

    name: str
    handler: str
    distributions: tuple[str, ...]
    services: tuple[str, ...]
    without: tuple[str, ...]
    sources: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module of the handler, which Lambda imports."""
        return self.handler.rpartition(".")[0]


_ALL = (
    *("botocore", "jmespath", "python-dateutil", "six", "urllib3"),
    *("msgspec", "python-ulid", "structlog", "typing_extensions"),
)
_ELSEWHERE = (
    *("cli", "client", "editions/local"),
    *("adapters/sqlite", "adapters/files", "adapters/sqs.py"),
)
_IMAGES = ("adapters/images",)
_HTTP = ("http", "adapters/oidc")

API = Package(
    name="api",
    handler="image_poster.editions.aws.api.handler",
    distributions=(
        *_ALL,
        *("litestar", "multipart", "multidict", "anyio", "idna", "sniffio", "mangum"),
        *("brotli", "joserfc", "cryptography", "cffi", "PyYAML", "swagger-ui-bundle-v2"),
    ),
    services=("dynamodb", "s3", "secretsmanager"),
    without=(*_ELSEWHERE, *_IMAGES),
)
IMAGE = Package(
    name="image",
    handler="image_poster.editions.aws.images.handler",
    distributions=(*_ALL, "pyvips-binary", "cffi", "pillow", "pillow_heif", "blurhash"),
    sources=("pyvips",),
    services=("dynamodb", "s3", "secretsmanager"),
    without=(*_ELSEWHERE, *_HTTP),
)
STREAM = Package(
    name="stream",
    handler="image_poster.editions.aws.background.apply_changes",
    distributions=_ALL,
    services=("dynamodb", "s3", "cloudfront"),
    without=(*_ELSEWHERE, *_HTTP, *_IMAGES),
)
HEALING = replace(STREAM, name="healing", handler="image_poster.editions.aws.background.reconcile")
# It encodes posts and comments as the API does.
EVENTS = Package(
    name="events",
    handler="image_poster.editions.aws.event_function.handler",
    distributions=(
        *_ALL,
        *("litestar", "multipart", "multidict", "anyio", "idna", "sniffio", "PyYAML"),
    ),
    services=("dynamodb", "events"),
    without=(*_ELSEWHERE, *_IMAGES, "adapters/oidc"),
)
PACKAGES = (API, IMAGE, STREAM, HEALING, EVENTS)
