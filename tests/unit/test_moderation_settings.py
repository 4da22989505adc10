"""Settings of moderation: the limits that they show, and the sentences that refuse wrong ones."""

from typing import Any

import pytest

from image_poster.editions import StartError
from image_poster.editions.local.settings import Settings


def refusal(**settings: Any) -> str:
    with pytest.raises(StartError) as refused:
        Settings(**settings)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_rules_and_contact_are_in_the_limits() -> None:
    assert (Settings().limits.rules_url, Settings().limits.contact) == (None, None)
    limits = Settings(rules_url="https://example.org/rules", contact="Ask Ann").limits
    assert (limits.rules_url, limits.contact) == ("https://example.org/rules", "Ask Ann")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "http://localhost:8080/rules?lang=en#images",
        "HTTPS://EXAMPLE.ORG/",
        "mailto:rules@example.org",
        "https://müller.example/regeln",
    ],
)
def test_urls_of_rules_are_web_pages_or_addresses(url: str) -> None:
    assert Settings(rules_url=url).limits.rules_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("example.org/rules", "javascript:alert(1)", "data:text/html,x", "ftp://example.org"),
        *("https://", "https:///rules", "mailto:", "mailto:nobody", "https://a b", "https://a\nb"),
        *('https://example.org/"onclick=', "https://example.org/<b>", " https://example.org"),
    ],
)
def test_other_urls_of_rules_are_refused(url: str) -> None:
    assert refusal(rules_url=url).startswith("rules_url must be a URL such as https://")


@pytest.mark.parametrize("contact", ["x" * 501, "a\nb", "a\x1b[31m", "a\u202eb"])
def test_a_contact_is_one_short_line(contact: str) -> None:
    assert refusal(contact=contact).startswith("contact must be one line of at most 500 characters")


def test_other_settings_of_moderation_are_refused_by_their_name() -> None:
    assert refusal(failed_days=0) == "failed_days must be at least 1, not 0."
    assert refusal(review="some") == "review must be off or all or hook, not 'some'."
