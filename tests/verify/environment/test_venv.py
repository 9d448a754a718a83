"""Probe environments: torch from outside, everything else from the file, built once and whole."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.verify.environment import venv as environments
from porter.verify.environment.requirements import load_requirements
from porter.verify.environment.torch_layer import Layer, find_layer
from porter.verify.environment.venv import Environment, EnvironmentFailed, ensure_environment
from porter.verify.environment.wheels import list_name
from tests.processes import PATIENCE, wait_until
from tests.verify.conftest import Heard
from tests.verify.environment.wheels import wheel

TORCH = importlib.metadata.version("torch")


def build(tmp_path: Path, *lines: str, said: list[str] | None = None) -> Environment:
    """Build (or find) the environment of a file with these lines."""
    path = tmp_path / "old.txt"
    path.write_text("\n".join(lines) + "\n")
    heard = Heard(said if said is not None else [])
    return ensure_environment(load_requirements(path), find_layer(), tmp_path / "cache", heard)


def python(environment: Environment, program: str) -> str:
    done = subprocess.run(
        [environment.python, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for environments that tests only look at."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def sound(shared: Path) -> Iterator[Environment]:
    """A package, one that needs torch, one that the layer has too, and a stub."""
    wheels = shared / "wheels"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        yield build(
            shared,
            wheel(wheels, "old", "1.0", "value = 1"),
            wheel(wheels, "needy", "1.0", "", "torch>=2"),
            wheel(wheels, "filelock", "99.0", "value = 'ours'"),
            "# porter: stub old._broken",
        )


def test_torch_is_the_running_one_and_other_packages_are_not_visible(sound: Environment) -> None:
    program = "import torch, old, os; print(torch.__version__, os.path.realpath(torch.__file__))"
    version, file = python(sound, program).split()
    assert version == TORCH
    running = importlib.metadata.distribution("torch").locate_file("torch/__init__.py")
    assert file == os.path.realpath(str(running))
    found = python(sound, "import importlib.util as u; print(u.find_spec('pytest'))")
    assert found == "None"


def test_pip_counts_torch_as_installed_and_has_no_complaint(sound: Environment) -> None:
    assert sound.pip_check == ""
    assert sound.packages == {"filelock": "99.0", "needy": "1.0", "old": "1.0"}


def test_a_package_of_the_file_overrides_the_layers_which_is_unchanged(
    sound: Environment,
) -> None:
    assert python(sound, "import filelock; print(filelock.value)") == "ours"
    program = "import importlib.metadata as m; print(m.version('filelock'))"
    assert python(sound, program) == "99.0"
    importlib.invalidate_caches()
    assert importlib.metadata.version("filelock") != "99.0"


def test_a_stub_stands_in_for_a_module_that_cannot_be_imported(sound: Environment) -> None:
    assert python(sound, "from old import _broken; print(_broken.__name__)") == "old._broken"


def test_it_is_built_once(sound: Environment, shared: Path) -> None:
    said: list[str] = []
    lines = (shared / "old.txt").read_text().splitlines()

    assert build(shared, *lines, said=said) == sound
    assert said == []


def test_a_requirement_that_wants_another_torch_is_refused_with_pips_error(tmp_path: Path) -> None:
    needy = wheel(tmp_path / "wheels", "needy", "1.0", "", "torch<1")

    with pytest.raises(EnvironmentFailed, match=r"environment old: pip install failed: .*torch"):
        build(tmp_path, needy)

    assert not list((tmp_path / "cache").glob("*/build-*"))


def test_no_deps_installs_a_package_despite_its_requirements(tmp_path: Path) -> None:
    needy = wheel(tmp_path / "wheels", "needy", "1.0", "value = 5", "torch<1")

    made = build(tmp_path, f"{needy}  # porter: no-deps")

    assert python(made, "import needy; print(needy.value)") == "5"
    assert "needy" in made.pip_check


def test_a_cache_reached_by_a_link_is_named_by_its_real_folder(tmp_path: Path) -> None:
    """Runs find the layer, whichever path the cache has then."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to("disk")

    made = build(tmp_path / "home", "")

    layer = next(made.python.parent.parent.glob("lib/*/site-packages/porter-layer.pth"))
    assert layer.read_text().splitlines()[0].startswith(str(tmp_path / "disk"))
    assert made.python.is_relative_to(tmp_path / "disk")


class Begun(Exception):
    """An environment is about to be built again."""


class TestBroken:
    """An environment that is not as it was built is built again, and says why."""

    @pytest.fixture
    def copy(self, sound: Environment, shared: Path, tmp_path: Path) -> Path:
        """A copy of an environment, with the file that it is built from."""
        copy = tmp_path / "copy"
        shutil.copytree(shared, copy, symlinks=True)
        layer = next(copy.glob("cache/*/build-*/venv/lib/*/site-packages/porter-layer.pth"))
        layer.write_text(layer.read_text().replace(str(shared), str(copy)))
        return copy

    def rebuilt(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """Return why it is built again; the build itself is another test's."""

        def begin(*_: object) -> None:
            raise Begun

        monkeypatch.setattr(environments, "_install", begin)
        said: list[str] = []
        with pytest.raises(Begun):
            build(copy, *(copy / "old.txt").read_text().splitlines(), said=said)
        return said[0]

    def test_its_interpreter_has_moved(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        interpreter = next(copy.glob("cache/*/build-*/venv/bin/python"))
        interpreter.unlink()
        interpreter.symlink_to("/nowhere/python")
        reason = self.rebuilt(copy, monkeypatch)
        assert "its interpreter is gone or has moved; building" in reason

    def test_a_package_is_gone(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        packages = next(copy.glob("cache/*/build-*/venv/lib/*/site-packages"))
        (packages / "old-1.0.dist-info" / "METADATA").unlink()
        assert "its packages are not those" in self.rebuilt(copy, monkeypatch)

    def test_torch_cannot_be_imported(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        next(copy.glob("cache/*/build-*/layer/torch")).unlink()
        assert "torch cannot be imported" in self.rebuilt(copy, monkeypatch)

    def test_the_marker_is_damaged(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        next(copy.glob("cache/*/current.json")).write_text("{")
        assert "current.json is damaged" in self.rebuilt(copy, monkeypatch)

    def test_the_marker_is_missing(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        next(copy.glob("cache/*/current.json")).unlink()
        assert self.rebuilt(copy, monkeypatch).startswith("building the environment old")

    @pytest.mark.slow
    def test_it_is_rebuilt_and_the_broken_one_is_removed(
        self, copy: Path, sound: Environment
    ) -> None:
        next(copy.glob("cache/*/build-*/layer/torch")).unlink()
        again = build(copy, *(copy / "old.txt").read_text().splitlines())
        assert again.key == sound.key
        assert python(again, "import torch; print(1)") == "1"
        assert len(list(copy.glob("cache/*/build-*"))) == 1


PROGRAM = """
import sys
from pathlib import Path
from tests.verify.environment.test_venv import build
said = []
made = build(Path(sys.argv[1]), sys.argv[2], said=said)
print(sum(line.startswith("building") for line in said), made.python)
"""


def start(tmp_path: Path, line: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), line]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("imported", "installed", "same"),
    [
        ("2.5.1+cu124", "2.5.1", True),  # a package index takes no local labels
        ("2.13.0+cpu", "2.13.0+cpu", True),
        ("2.13.0+cpu", "2.13.0+cu130", False),
        ("2.13.0", "2.13.0+cpu", False),
        ("2.5.10", "2.5.1", False),
        ("", "2.5.1", False),
    ],
)
def test_an_indexs_wheel_of_torch_lacks_the_local_label_that_torch_has(
    imported: str, installed: str, same: bool
) -> None:
    class Fixed(Layer):
        torch_version = installed  # type: ignore[assignment]

    wrong = environments._wrong_torch(Path("python"), Fixed((), (), ""), lambda _: imported)

    assert wrong == ("" if same else f"expected torch {installed}, found {imported}")


@pytest.mark.slow
def test_two_at_once_build_it_once(tmp_path: Path) -> None:
    line = wheel(tmp_path / "wheels", "old", "1.0", "")

    both = [start(tmp_path, line) for _ in range(2)]
    printed = [process.communicate(timeout=PATIENCE)[0].split() for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sorted(built for built, _ in printed) == ["0", "1"]
    assert printed[0][1] == printed[1][1]


@pytest.mark.slow
def test_a_build_that_is_killed_is_never_taken_for_a_finished_one(tmp_path: Path) -> None:
    line = wheel(tmp_path / "wheels", "old", "1.0", "")
    killed = start(tmp_path, line)
    cache = tmp_path / "cache"
    wait_until(lambda: any(cache.glob("*/build-*/layer")), "the build to begin")
    assert killed.poll() is None
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    said: list[str] = []

    made = build(tmp_path, line, said=said)

    assert said[0].startswith("building")
    assert python(made, "import old, torch; print(1)") == "1"
    assert len(list((tmp_path / "cache").glob("*/build-*"))) == 1


def test_ctrl_c_while_pip_runs_leaves_nothing_half_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(environments, "_install", interrupt)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, "anything")

    assert not list((tmp_path / "cache").glob("*/build-*"))


def test_what_decides_the_content_decides_the_key(tmp_path: Path) -> None:
    one = tmp_path / "one.txt"
    one.write_text("old\n")
    layer = find_layer()
    key = environments.environment_key(load_requirements(one), layer)

    whole = Layer(layer.distributions, (tmp_path,), "editable")
    one.write_text("old<2\n")

    assert environments.environment_key(load_requirements(one), layer) != key
    one.write_text("old\n")
    assert environments.environment_key(load_requirements(one), whole) != key
    assert environments.environment_key(load_requirements(one), layer) == key


@pytest.mark.slow
def test_wheels_of_a_bundle_that_do_not_fit_leave_the_index_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list names what no wheel here has the hash of."""
    path = tmp_path / "old.txt"
    path.write_text("old\n")
    requirements, layer = load_requirements(path), find_layer()
    wheel(tmp_path / "wheels", "old", "1.0", "value = 'bundle'")
    wheel(tmp_path / "index", "old", "2.0", "value = 'index'")
    listed = tmp_path / "wheels" / list_name(requirements, layer)
    listed.write_text(f"old==1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    said: list[str] = []

    environment = build(tmp_path, "old", said=said)

    assert environment.packages == {"old": "2.0"}
    assert any("the wheels of the bundle do not fit" in line for line in said)
