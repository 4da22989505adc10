"""`python -m aws_local --port 8080`: the emulator, the stack and its front, until Ctrl-C."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from aws_local.emulator import CREDENTIALS, REGION, Emulator, running_emulator
from aws_local.front import AUDIENCE, Front, Issuer
from aws_local.stack import deploy
from image_poster.editions.local.server import announce, reserve_port, serve_until_stopped

_HOST = "127.0.0.1"
_NAME = "image-poster"


def main() -> None:
    """Run the emulator with `--port` of the service, and any parameter of the template as
    `NAME=VALUE`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--log", type=Path, help="Where the emulator and the Lambdas log.")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_args()
    parameters = dict(text.split("=", 1) for text in options.parameters)
    log = options.log.open("wb") if options.log else None
    with reserve_port(_HOST, options.port) as port, running_emulator(log) as emulator:
        uvloop.run(serve(emulator, port, parameters))


async def serve(emulator: Emulator, port: int, parameters: dict[str, str]) -> None:
    """Deploy, and serve until a signal. The front starts first, since the stack fetches its
    keys."""
    issuer = Issuer(f"http://{_HOST}:{port}")
    front = Front(emulator, issuer)
    own = {"JwtIssuer": issuer.url, "JwtAudience": AUDIENCE, **parameters}

    async def deploy_behind() -> None:
        try:
            front.stack = await asyncio.to_thread(deploy, emulator, _NAME, **own)
        except BaseException:
            # There is nothing to serve; the error is told when serving has ended.
            os.kill(os.getpid(), signal.SIGTERM)
            raise
        announce(_HOST, port)
        print(_operating(emulator), file=sys.stderr, flush=True)

    deploying: list[asyncio.Task[None]] = []
    serving = serve_until_stopped(
        front, _HOST, port, lambda: deploying.append(asyncio.create_task(deploy_behind()))
    )
    await serving
    await asyncio.gather(*deploying)


def _operating(emulator: Emulator) -> str:
    variables = {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_DEFAULT_REGION": REGION,
        **CREDENTIALS,
    }
    exports = " ".join(f"{name}={value}" for name, value in variables.items())
    return f"to operate it: {exports} image-poster failed --stack {_NAME}"


if __name__ == "__main__":
    main()
