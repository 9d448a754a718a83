"""`porter goto` against `git checkout` of the same commits, as a ratio in one run.

    python bench/goto.py [FILES] [PATCHES]

A project of FILES (800) files and PATCHES (20) patches is made in a temporary folder, and its tree is
moved between level 0 and the last. Compared are best times, taken in turns: `porter goto`, `git
checkout --detach` in the same tree, and porter's bare start-up (`porter --version`). Bound: goto is at
most 1.2x checkout plus start-up.
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

RUNS = 15
BOUND = 1.2


def make_project(top: Path, files: int, patches: int) -> Path:
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


def best(rounds: dict[str, list[list[str]]], env: dict[str, str]) -> dict[str, float]:
    took = dict.fromkeys(rounds, float("inf"))
    for run in range(RUNS):
        for name, (there, back) in rounds.items():
            start = time.perf_counter()
            for command in (there, back):
                subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            took[name] = min(took[name], (time.perf_counter() - start) / 2)
    return took


def main() -> int:
    files, patches = (int(arg) for arg in (*sys.argv[1:3], *("800", "20")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        root, tree = make_project(top, files, patches), top / "tree"
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PORTER_ROOT": str(root)}
        env |= {"PORTER_CACHE": str(top / "cache"), "GIT_CONFIG_NOSYSTEM": "1"}
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
    print(f"{files} files, {patches} patches; level 0 to {patches} and back, a move:")
    for name, seconds in took.items():
        print(f"  {name:<14} {seconds * 1000:6.1f} ms")
    allowed = BOUND * took["git checkout"] + took["start-up"]
    together = took["git checkout"] + took["start-up"]
    print(f"  goto / (checkout + start-up) = {took['porter goto'] / together:.2f}x")
    print(f"  bound {BOUND}x checkout + start-up = {allowed * 1000:.1f} ms")
    return 0 if took["porter goto"] <= BOUND * together else 1


if __name__ == "__main__":
    sys.exit(main())
