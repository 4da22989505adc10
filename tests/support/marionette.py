"""Firefox for Selenium without geckodriver, which Debian does not package: Selenium's commands over
Marionette, Firefox's own protocol (JSON with its length, over TCP)."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

from selenium.webdriver.firefox.options import Options
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver

from support.waiting import wait_until

_COMMANDS = {
    "newSession": "WebDriver:NewSession",
    "quit": "WebDriver:DeleteSession",
    "get": "WebDriver:Navigate",
    "findElement": "WebDriver:FindElement",
    "findElements": "WebDriver:FindElements",
    "findChildElements": "WebDriver:FindElements",
    "clickElement": "WebDriver:ElementClick",
    "clearElement": "WebDriver:ElementClear",
    "sendKeysToElement": "WebDriver:ElementSendKeys",
    "w3cExecuteScript": "WebDriver:ExecuteScript",
    "w3cExecuteScriptAsync": "WebDriver:ExecuteAsyncScript",
    "screenshot": "WebDriver:TakeScreenshot",
    "setTimeouts": "WebDriver:SetTimeouts",
    "setWindowRect": "WebDriver:SetWindowRect",
    "newWindow": "WebDriver:NewWindow",
    "switchToWindow": "WebDriver:SwitchToWindow",
    "w3cGetCurrentWindowHandle": "WebDriver:GetWindowHandle",
    "w3cGetWindowHandles": "WebDriver:GetWindowHandles",
    "close": "WebDriver:CloseWindow",
}
_PREFERENCES = {
    "marionette.port": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.aboutwelcome.enabled": False,
    "app.update.disabledForTesting": True,
}
_START_SECONDS = 60


class MarionetteConnection(RemoteConnection):
    """Sends Selenium's commands to the Marionette port of a Firefox."""

    def __init__(self, port: int) -> None:
        super().__init__(client_config=ClientConfig(f"http://127.0.0.1:{port}"))
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._stream = self._socket.makefile("rb")
        self._number = 0
        self._receive()  # its greeting

    def execute(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Raise KeyError for a command that no test needed yet."""
        self._number += 1
        arguments = {key: value for key, value in params.items() if key != "sessionId"}
        if command == "findChildElements":
            arguments["element"] = arguments.pop("id")
        message = json.dumps([0, self._number, _COMMANDS[command], arguments]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._receive()
        if error:
            return {"status": 500, "value": json.dumps({"value": error})}
        return result if "value" in result else {"value": result}

    def _receive(self) -> Any:
        length = b""
        while (character := self._stream.read(1)) != b":":
            length += character
        return json.loads(self._stream.read(int(length)))

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()


class Firefox(WebDriver):
    """A headless Firefox with its profile in `profile`."""

    def __init__(self, binary: str, profile: Path) -> None:
        profile.mkdir(exist_ok=True)
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in _PREFERENCES.items()
        )
        (profile / "user.js").write_text("\n".join(lines))
        active = profile / "MarionetteActivePort"
        active.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [binary, "--headless", "--marionette", "--no-remote", "--profile", str(profile)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection = MarionetteConnection(self._port(active))
            super().__init__(command_executor=connection, options=Options())
            self.file_detector = UselessFileDetector()  # Firefox opens files itself
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _port(self, active: Path) -> int:
        def read_port() -> str:
            assert self._process.poll() is None, "Firefox did not start"
            return active.read_text().strip() if active.exists() else ""

        message = "Firefox did not open its Marionette port"
        return int(wait_until(read_port, seconds=_START_SECONDS, message=message))

    def quit(self) -> None:
        """End the browser."""
        assert isinstance(self.command_executor, MarionetteConnection)
        self.command_executor.close()
        self._process.terminate()
        self._process.wait(timeout=30)
