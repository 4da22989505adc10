"""The secret between CloudFront and the API is exchanged without an outage."""

import pytest

from image_poster.editions.aws.origin import OriginSecrets


class SecretsManager:
    """A secret and its previous value; both are read together."""

    def __init__(self) -> None:
        self.values = ["first"]
        self.reads = 0
        self.fails = False
        self.seconds = 0.0

    def read(self) -> list[str]:
        self.reads += 1
        if self.fails:
            raise RuntimeError("Secrets Manager is down")
        return self.values[-2:]

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def manager() -> SecretsManager:
    return SecretsManager()


@pytest.fixture
def secrets(manager: SecretsManager) -> OriginSecrets:
    return OriginSecrets(manager.read, manager.now)


def test_an_exchange_refuses_no_request_of_cloudfront(
    manager: SecretsManager, secrets: OriginSecrets
) -> None:
    """Edges send the former value, then the new one, in an environment that began before."""
    manager.values.append("second")
    manager.seconds += 61
    for sent in ("first", "second", "first", "second"):
        assert secrets.accepts(sent)
    manager.values.append("third")
    manager.seconds += 61
    assert secrets.accepts("third")
    assert not secrets.accepts("first")


@pytest.mark.parametrize("sent", ["", "guessed", "f\u00fcrst", "first "])
def test_guesses_are_refused_and_cost_one_read_a_minute(
    manager: SecretsManager, secrets: OriginSecrets, sent: str
) -> None:
    manager.seconds += 61
    for _ in range(100):
        assert not secrets.accepts(sent)
    assert manager.reads == 2


def test_a_value_that_was_withdrawn_ends_within_a_quarter_of_an_hour(
    manager: SecretsManager, secrets: OriginSecrets
) -> None:
    manager.values = ["second"]
    manager.seconds += 901
    assert not secrets.accepts("first")
    assert secrets.accepts("second")


def test_without_secrets_manager_the_former_values_hold(
    manager: SecretsManager, secrets: OriginSecrets
) -> None:
    manager.fails = True
    manager.seconds += 901
    assert secrets.accepts("first")
    assert not secrets.accepts("second")
