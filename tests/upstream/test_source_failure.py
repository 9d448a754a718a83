"""A failed source gets a short reason that names its host."""

from __future__ import annotations

import pytest

from porter.git.objects import Oid
from porter.upstream.failure import no_source, source_failure
from porter.upstream.pins import GitSource, Sdist

GIT = GitSource("https://example.org/ada/model", Oid("1" * 40))
LOCAL = GitSource("file:///srv/model", Oid("1" * 40))
SDIST = Sdist("model", "1.0", "0" * 64)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("unable to access 'https://example.org/ada/model/': Could not resolve host: example.org",
         "example.org does not answer"),
        ("unable to access 'https://mirror.example/ada/model/': Failed to connect to"
         " mirror.example port 443 after 2 ms: Connection refused",
         "mirror.example does not answer"),
        ("unable to access 'https://example.org/model/': Could not resolve proxy: inner.example",
         "inner.example does not answer"),
        ("unable to access 'https://example.org/ada/model/': CONNECT tunnel failed, response 403",
         "the proxy does not let example.org through"),
        ("unable to access 'https://example.org/ada/model/': The requested URL returned error: 503",
         "example.org cannot answer now"),
        ("unable to access 'https://example.org/ada/model/': SSL certificate problem: unable to get"
         " local issuer certificate", "the certificate of example.org is not trusted"),
        ("repository 'https://example.org/ada/model/' not found",
         "example.org has no such repository"),
        ("could not read Username for 'https://example.org': terminal prompts disabled",
         "example.org asks for a login"),
        ("no answer for 90 s", "example.org does not answer"),
        ("unable to look up example.org (port 9418) (Name or service not known)",
         "example.org does not answer"),
    ],
)  # fmt: skip
def test_what_git_says_becomes_a_short_reason(said: str, reason: str) -> None:
    failure = source_failure(GIT, said)

    assert (failure.reason, failure.away) == (reason, True)
    assert said in str(failure)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("pip could not reach its index (NewConnectionError)", "pip's index does not answer"),
        ("No matching distribution found for model==1.0", "pip's index has no model 1.0"),
        ("no pip in this Python; `python -m ensurepip` installs it", "pip is not installed"),
    ],
)
def test_what_pip_says_becomes_a_short_reason(said: str, reason: str) -> None:
    failure = source_failure(SDIST, said)

    assert (failure.reason, failure.away) == (reason, True)


def test_a_folder_that_is_no_repository_is_named() -> None:
    failure = source_failure(LOCAL, "'/srv/model' does not appear to be a git repository")

    assert failure.reason == "there is no git repository at /srv/model"


@pytest.mark.parametrize(
    "said",
    [
        f"remote error: upload-pack: not our ref {'1' * 40}",
        f"expected an archive of sha256 {'0' * 64}, found {'2' * 64}",
        "transport 'ext' not allowed",
    ],
)
def test_an_answer_that_is_not_the_pins_is_no_matter_of_reach(said: str) -> None:
    failure = source_failure(GIT, said)

    assert not failure.away
    assert said in str(no_source("model", [failure]))


def test_sources_that_fail_alike_are_reported_once() -> None:
    said = "unable to access 'https://example.org/x/': Could not resolve host: example.org"
    error = no_source("model", [source_failure(GIT, said), source_failure(GIT, said)])

    assert str(error).startswith("model: not reachable: example.org does not answer; ")
    assert (error.away, error.detail.count(said)) == (True, 2)


def test_one_answer_against_the_pin_makes_it_a_failure() -> None:
    gone = source_failure(GIT, "Could not resolve host: example.org")
    wrong = source_failure(SDIST, f"expected an archive of sha256 {'0' * 64}, found {'2' * 64}")
    error = no_source("model", [gone, wrong])

    assert not error.away
    assert "example.org does not answer; sdist model 1.0: expected an archive" in str(error)
