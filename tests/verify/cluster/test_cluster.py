"""Runs made on the machines of a cluster give the verdicts of runs made here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from porter.errors import BadInput
from porter.verify.judge.result import RecipeResult, result_to_json
from tests.verify.cluster.conftest import Machines, Verifying
from tests.verify.conftest import Heard
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROBE = """
    from upstream_code import f
    from helper import x
    def run(probe):
        probe.record("y", f(x(probe)))
    """


@pytest.fixture(autouse=True)
def port(tmp_path: Path, trees: FolderTrees) -> Path:
    """A port of two levels with a recipe, which takes 4 runs; its path."""
    trees.add(
        "port",
        upstream="def f(x): return x + 1",
        same="def f(x): return 1 + x",
        wrong="def f(x): return x + 1.001",
    )
    path = write_recipe(tmp_path, "port", "one", PARITY, PROBE)
    (path.parent / "helper.py").write_text("def x(probe): return probe.normal('x', 200)\n")
    return path


def verdicts(results: list[RecipeResult]) -> list[dict[str, object]]:
    """Return results as JSON has them, without the seconds that they took."""
    rows = [result_to_json(result) for result in results]
    for row in rows:
        del row["seconds"]
    return rows


def test_runs_of_two_machines_give_the_verdicts_of_this_one(
    machines: Machines, verifying: Verifying
) -> None:
    machines.add("one")
    machines.add("two")  # neither has the environment: each builds its own
    here, _ = verifying.here()

    there, heard = verifying.on(machines)

    assert verdicts(there) == verdicts(here)
    assert heard.ends.count("made") == len(heard.ends) > 3
    assert machines.made_on("one")
    assert machines.made_on("two")


def test_a_run_of_a_machine_that_is_killed_is_made_by_another(
    machines: Machines, verifying: Verifying, port: Path
) -> None:
    port.with_name("one_probe.py").write_text(
        dedent(PROBE).replace("def run(probe):", "import time\ndef run(probe):\n    time.sleep(5)")
    )
    here, _ = verifying.here()
    machines.add("one")
    machines.add("two")

    def lose() -> None:
        while not running(machines.cache("one")):
            time.sleep(0.1)
        machines.kill("one")

    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(lose)
        there, heard = verifying.on(machines)
        lost.result()

    assert verdicts(there) == verdicts(here)
    assert heard.ends.count("made") == len(heard.ends)
    assert machines.made_on("two")
    assert not left(machines.cache("one"))


def test_a_cluster_that_is_lost_is_an_error_of_the_run(
    machines: Machines, verifying: Verifying, port: Path
) -> None:
    port.with_name("one_probe.py").write_text("import time\ndef run(probe):\n    time.sleep(600)\n")
    machines.add("one")

    def lose() -> None:
        while not running(machines.cache("one")):
            time.sleep(0.1)
        machines.kill("one")

    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(lose)
        (result,), _ = verifying.on(machines)
        lost.result()

    assert not result.passed
    assert any("cluster" in str(verdict.detail) for verdict in result.verdicts)


def test_a_machine_with_another_processor_makes_no_run(
    machines: Machines, verifying: Verifying, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(
        "import platform\nplatform.platform = lambda *_, **__: 'another'\n"
    )
    machines.add("one")
    machines.add("other", PYTHONPATH=str(other))
    here, _ = verifying.here()

    there, heard = verifying.on(machines)

    assert verdicts(there) == verdicts(here)
    assert not machines.made_on("other")
    (line,) = heard.lines
    assert line.endswith("makes no runs: its processor or system is another")
    machines.kill("one")
    with pytest.raises(BadInput, match="its processor or system is another"):
        verifying.on(machines)


def test_what_a_machine_cannot_write_another_makes(
    machines: Machines, verifying: Verifying
) -> None:
    machines.folder.mkdir()
    machines.cache("full").write_text("a file where the cache should be\n")
    machines.add("full")
    machines.add("one")
    here, _ = verifying.here()

    there, heard = verifying.on(machines)

    assert verdicts(there) == verdicts(here)
    assert any("makes no runs: " in line and "Not a directory" in line for line in heard.lines)


def test_ctrl_c_ends_what_runs_on_every_machine(
    machines: Machines, verifying: Verifying, port: Path
) -> None:
    port.with_name("one_probe.py").write_text(
        "import time\ndef run(probe):\n    time.sleep(0 if probe.dtype.itemsize == 8 else 600)\n"
        "    probe.record('y', probe.normal('x', 2))\n"
    )
    machines.add("one")
    machines.add("two")

    class Pressed(Heard):
        def ended(self, run: str, how: str) -> None:
            while not running(machines.folder):
                time.sleep(0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verifying.on(machines, Pressed())

    assert not left(machines.folder)


def test_a_run_that_no_machine_has_the_memory_for_fails_with_that(
    machines: Machines, verifying: Verifying, port: Path
) -> None:
    machines.add("small", memory=2**30)

    (result,), _ = verifying.on(machines)

    (detail,) = {verdict.detail for verdict in result.verdicts}
    assert "no machine of the cluster has over 1.0" in str(detail)
    assert not result.passed


def running(folder: Path) -> list[Path]:
    """Return the working folders of runs that have begun below a folder."""
    return [*folder.glob("**/runs/*/job.json")]


def left(folder: Path) -> list[str]:
    """Return the commands of the processes that work below a folder, some seconds from now."""
    ends = time.monotonic() + 20
    while found := [
        " ".join(command)
        for command in commands()
        if any(str(folder) in word for word in command) and "raylet" not in command[0]
    ]:
        if time.monotonic() > ends:
            break
        time.sleep(0.2)
    return found


def commands() -> Iterator[list[str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words := path.read_bytes().decode(errors="replace").split("\0"):
                yield words
