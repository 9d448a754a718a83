"""`porter goto` against `git checkout` of the same commits, as a ratio in one run.

    python bench/goto.py [FILES] [PATCHES]

It makes a project of FILES (800) files and PATCHES (20) patches in a temporary folder and moves its
tree between level 0 and the last. It compares the best times, measured in turns, of `porter goto`,
`git checkout --detach` in the same tree, and porter's start-up (`porter --version`). Bound: goto
takes at most 1.2x checkout plus start-up, in wall or in processor time (other load on the machine
stretches the longer command's wall time more).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.small_project import message, sealed_git, write_files  # noqa: E402

RUNS = 40
BOUND = 1.2


def make_project(top: Path, files: int) -> Path:
    """Make upstream, pins, an empty series and a tree, then the series by exporting commits."""
    work = top / "upstream"
    work.mkdir()
    sealed_git(work, "init", "--quiet")
    write_files(
        work,
        {f"d{n % 40}/f{n}.py": "".join(f"x{k} = {n}\n" for k in range(60)) for n in range(files)},
    )
    sealed_git(work, "add", ".")
    sealed_git(work, "commit", "--quiet", "-m", "The pinned commit")
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        sealed_git(work, "config", key, "true")
    ids = [sealed_git(work, "rev-parse", f"HEAD{part}").strip() for part in ("", "^{tree}")]
    root = top / "project"
    (root / "patches" / "big").mkdir(parents=True)
    (root / "patches" / "big" / "series").write_text("")
    pin = f"url: file://{work}\n    commit: {ids[0]}\n    tree: {ids[1]}\n    license: MIT\n"
    (root / "upstream_pins.yaml").write_text(f"version: 1\npins:\n  big:\n    {pin}")
    return root


def add_patches(tree: Path, files: int, patches: int) -> None:
    """Commit PATCHES levels, each changing two files."""
    for number in range(patches):
        for file in (number * 7 % files, number * 13 % files):
            path = tree / f"d{file % 40}" / f"f{file}.py"
            path.write_text(path.read_text() + f"y{number} = {file}\n")
        sealed_git(tree, "commit", "--quiet", "-am", message(f"step-{number}", f"Step {number}"))


def best(rounds: dict[str, list[list[str]]], env: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Return the best (wall, processor) seconds of each command, measured in turns."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in rounds}
    for _ in range(RUNS):
        for name, commands in rounds.items():
            for command in commands:
                start = time.perf_counter()
                process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                assert process.returncode == 0, command
                wall = time.perf_counter() - start
                took[name].append((wall, used.ru_utime + used.ru_stime))
    return {name: (min(w for w, _ in rows), min(c for _, c in rows)) for name, rows in took.items()}


def main() -> int:
    files, patches = (int(arg) for arg in (*sys.argv[1:3], *("800", "20")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        root, tree = make_project(top, files), top / "tree"
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PORTER_ROOT": str(root)}
        env |= {"PORTER_CACHE": str(top / "cache"), "GIT_CONFIG_NOSYSTEM": "1"}
        env["PYTHONPYCACHEPREFIX"] = str(top / "pyc")  # as installed: byte-compiled
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        porter = [sys.executable, "-m", "porter"]
        subprocess.run([*porter, "apply", "big", str(tree)], env=env, check=True)
        add_patches(tree, files, patches)
        subprocess.run(
            [*porter, "export", "big", str(tree)], env=env, check=True, stdout=subprocess.DEVNULL
        )
        base, last = (
            sealed_git(tree, "rev-parse", ref).strip() for ref in (f"HEAD~{patches}", "HEAD")
        )
        checkout = ["git", "-C", str(tree), "checkout", "--quiet", "--detach"]
        took = best(
            {
                "start-up": [[*porter, "--version"]] * 2,
                "git checkout": [[*checkout, base], [*checkout, last]],
                "porter goto": [
                    [*porter, "goto", number, str(tree)] for number in ("0", str(patches))
                ],
            },
            env,
        )
    print(f"{files} files, {patches} patches; level 0 to {patches} and back, one move:")
    for name, (wall, processor) in took.items():
        print(f"  {name:<14} {wall * 1000:6.1f} ms, {processor * 1000:6.1f} ms of processor time")
    move, checkout, start = (took[n] for n in ("porter goto", "git checkout", "start-up"))
    ratios = [move[kind] / (checkout[kind] + start[kind]) for kind in (0, 1)]
    print(f"  goto / (checkout + start-up) = {ratios[0]:.2f}x, {ratios[1]:.2f}x of processor time")
    return 0 if min(ratios) <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
