"""Every test runs sealed off from this machine: its home, git configuration, caches and indexes.

A test marked ``upstream`` keeps the machine's own git and pip configuration, because it is about
reaching real upstreams with it; its store is kept between runs in pytest's cache folder (or in
``PORTER_TEST_CACHE``; where neither can be written, it lasts for the run).
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.served import Served
    from tests.small_port import SmallPort

# The same examples in every run; ``--hypothesis-profile default`` draws others.
# A loaded machine draws them slowly; no example is judged by the clock.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts and
# interrupts: what ignores a signal hands that on, what handles it does not.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each worker has a core; torch, imported later, would take all of them for each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PROJECT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)  # before -m leaves tests out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what a test marked ``forms(n)`` has of parameters after the first n."""
    seen: Counter[str] = Counter()
    for item in items:
        if (mark := item.get_closest_marker("forms")) is not None:
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > mark.args[0]:
                item.add_marker("slow")


_LASTING_CACHE = os.environ.get("PORTER_TEST_CACHE")  # read before anything is sealed
_IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (
        ("NAME", "Ada Test"),
        ("EMAIL", "ada@example.org"),
        ("DATE", "2024-01-02T03:04:05+00:00"),
    )
}


@pytest.fixture(autouse=True)
def hang(request: pytest.FixtureRequest) -> None:
    """Let what hangs in C have ``faulthandler_timeout``'s 100 s beyond a test's own timeout."""
    mark = request.node.get_closest_marker("timeout")
    if mark is not None:
        faulthandler.dump_traceback_later(mark.args[0] + 100, exit=True, file=sys.__stderr__)


@pytest.fixture(autouse=True)
def sealed(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Fix identity, dates, language and terminal; unless ``upstream``, forbid the network too."""
    reaches_out = request.node.get_closest_marker("upstream") is not None
    dropped = ("GIT_", "PORTER_") if reaches_out else ("GIT_", "PORTER_", "PIP_", "XDG_")
    keep = ("GIT_CONFIG", "GIT_SSL", "GIT_SSH", "GIT_ASKPASS", "GIT_PROXY") if reaches_out else ()
    for name in list(os.environ):
        if name.startswith(dropped) and not name.startswith(keep or ("\0",)):
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PYTHONPYCACHEPREFIX"):
        monkeypatch.delenv(name, raising=False)
    settings = {**_IDENTITY, "TZ": "UTC", "LC_ALL": "C.UTF-8", "COLUMNS": "80", "TERM": "dumb"}
    settings["PORTER_SOFTWARE_HERITAGE"] = "off"
    if reaches_out:
        settings["PORTER_CACHE"] = str(lasting_cache(request.config, tmp_path_factory))
    else:
        home = tmp_path_factory.mktemp("sealed")
        settings |= {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "PORTER_CACHE": str(home / "porter-cache"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
            "GIT_ALLOW_PROTOCOL": "file",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def lasting_cache(config: pytest.Config, made_here: pytest.TempPathFactory) -> Path:
    """Return a folder that is kept between runs, else (nowhere to keep it) one of this run."""
    if _LASTING_CACHE:
        return Path(_LASTING_CACHE)
    cache: pytest.Cache | None = getattr(config, "cache", None)  # absent: -p no:cacheprovider
    try:
        kept = cache.mkdir("upstreams") if cache is not None else None
    except OSError:  # a checkout that one may only read
        kept = None
    if kept is not None and os.access(kept, os.W_OK):
        return kept
    run = made_here.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # a worker's own folder is inside the run's
    return run / "upstreams"


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPort:
    """A small port with an empty series, in a project that porter's command line finds."""
    from tests.small_port import make_small_port

    made = make_small_port(tmp_path)
    monkeypatch.setenv("PORTER_ROOT", str(made.root))
    return made


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The real upstreams' files; the test, marked ``upstream``, skips where it needs more.

    Only through this does a test ask for them (``tests/test_served.py`` holds the tests to it).
    """
    from tests.served import Served

    assert request.node.get_closest_marker("upstream"), "mark the test with pytest.mark.upstream"
    opened = Served(PROJECT)
    yield opened
    opened.close()
