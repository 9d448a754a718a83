"""A campaign's stage, its time and its count.

``PORTER_CAMPAIGN_SECONDS`` is the time of each test (default 5), ``PORTER_CAMPAIGN_ROUNDS`` the
number of kills, full disks or batches of files after which it has had enough (default: none),
``PORTER_CAMPAIGN_SEED`` begins the random numbers (default 1), ``PORTER_CAMPAIGN_WAYS=event``
leaves out the kills by the clock, which differ from run to run, and ``PORTER_CAMPAIGN_REPORT``
names a file that gets a JSON line for each test's count.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.stage import Stage
from tests.small_project import make_upstreams

SECONDS = float(os.environ.get("PORTER_CAMPAIGN_SECONDS", "5"))
ROUNDS = int(os.environ.get("PORTER_CAMPAIGN_ROUNDS", "1000000000"))
WAYS = os.environ.get("PORTER_CAMPAIGN_WAYS", "event,event,moment,moment,call").split(",")
SEED = os.environ.get("PORTER_CAMPAIGN_SEED", "1")


_MOST = SECONDS * 3 + 300
QUICK = ("test_found.py", "test_copies.py")
"""In every run of the tests."""


class Count:
    """What a test did, by name, within its time."""

    def __init__(self, name: str) -> None:
        self.name, self.rows = name, Counter[str]()
        self.end = 0.0

    def goes_on(self, rounds: int) -> bool:
        """Whether the test's time, which begins with the first question, and its rounds go on."""
        self.end = self.end or time.monotonic() + SECONDS
        return time.monotonic() < self.end and rounds < ROUNDS

    def one(self, what: str) -> None:
        self.rows[what] += 1


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Iterator[Count]:
    made = Count(request.node.name)
    yield made
    request.node.user_properties.append(("campaign", {"test": made.name, **made.rows}))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage, with everything kept under the name ``base``."""
    import porter

    aside = ("porter.device", "porter.interception", "porter.migrate", "porter.verify.harness")
    for module in pkgutil.walk_packages(porter.__path__, "porter."):
        if not module.name.startswith(aside) and "main" not in module.name:
            importlib.import_module(module.name)
    folder = tmp_path_factory.mktemp("campaign")
    upstreams = make_upstreams(folder / "upstreams")
    (folder / "top").mkdir()
    (folder / "kept").mkdir()
    stage = Stage(folder / "top", upstreams, folder / "kept")
    stage.make()
    stage.keep("base")
    gc.freeze()  # a collection in a fork would copy every page
    return stage


@pytest.fixture(scope="session")
def runs(base: Stage) -> str:
    """The name of the stage after a verification."""
    from tests.campaign.jobs import verified

    base.back("base")
    verified(base)
    return "verified"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.name not in QUICK:
            item.add_marker(pytest.mark.campaign)
            item.add_marker(pytest.mark.timeout(_MOST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown" or getattr(report, "when", "") == "call"
        for name, value in getattr(report, "user_properties", ())
        if name == "campaign"
    ]
    rows = [row for at, row in enumerate(rows) if row not in rows[:at]]
    if not rows:
        return
    terminalreporter.section("campaign")
    for row in sorted(rows, key=lambda each: each["test"]):
        figures = ", ".join(f"{key} {n}" for key, n in row.items() if key != "test")
        terminalreporter.write_line(f"{row['test']:<44} {figures}")
    if path := os.environ.get("PORTER_CAMPAIGN_REPORT"):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
