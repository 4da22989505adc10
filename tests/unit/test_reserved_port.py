"""The port of a server, from its choice to its end."""

import socket
from typing import Any

import pytest

from image_poster.editions import StartError
from image_poster.editions.local.server import reserve_port

HOST = "127.0.0.1"


def test_a_free_port_is_not_let_go_between_its_choice_and_its_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another server could choose it in between, and both would then share it."""
    bound = []

    class Noting(socket.socket):
        def bind(self, address: Any) -> None:
            bound.append(address)
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Noting)
    with reserve_port(HOST, 0) as port:
        assert bound == [(HOST, 0)]
        assert port > 0


def test_servers_that_choose_at_the_same_time_choose_apart() -> None:
    with reserve_port(HOST, 0) as first, reserve_port(HOST, 0) as second:
        assert first != second


def test_a_port_of_another_program_is_told() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} is in use"), reserve_port(HOST, port):
            pass
