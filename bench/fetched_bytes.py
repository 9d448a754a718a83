"""Measure how many bytes checking a port fetches, relative to a full clone of its upstream.

    python bench/fetched_bytes.py [PORT] [--clone-bytes N]

It checks the port (default: diffusers) from an empty store, then fetches every wanted file, and
prints both as a percentage of a full clone. The clone's size is that of one pack of all branches
and tags of a local copy (when git is configured to use one), else of a real clone. Goal: at most
2 %.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from porter.git.odb import git_environment
from porter.levels.levels import build_levels
from porter.places import project_root
from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.upstream.store import fetch, open_upstream

GOAL = 0.02


def clone_bytes(url: str) -> int:
    """Return the size of the pack that a full clone of branches and tags receives."""
    said = subprocess.run(["git", "ls-remote", "--get-url", url], capture_output=True, text=True)
    if said.stdout.startswith("file://"):
        copy = said.stdout.strip().removeprefix("file://")
        git = ["git", f"--git-dir={copy}"]
        listed = [*git, "rev-list", "--objects", "--no-object-names", "--branches", "--tags"]
        packed = [*git, "pack-objects", "--stdout", "-q", "--window=0", "--threads=1"]
        env = git_environment()
        ids = subprocess.Popen([*listed, "--missing=allow-any"], stdout=subprocess.PIPE, env=env)
        pack = subprocess.Popen(packed, stdin=ids.stdout, stdout=subprocess.PIPE, env=env)
        assert pack.stdout is not None
        size = sum(len(chunk) for chunk in iter(lambda: pack.stdout.read(1 << 20), b""))
        if ids.wait() or pack.wait():
            raise SystemExit(f"{copy}: git could not pack it; pass --clone-bytes")
        return size
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", "--bare", url, folder], check=True)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.pack"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", nargs="?", default="diffusers")
    parser.add_argument("--clone-bytes", type=lambda text: int(re.sub("_", "", text)))
    args = parser.parse_args()
    root = project_root()
    pin = load_pins(root).port(args.port)
    if pin.url is None:
        raise SystemExit(f"{pin.name}: its pin is a source release, there is no clone to compare")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PORTER_CACHE"] = cache
        with open_upstream(root, pin) as upstream:
            opened = upstream.supply.received
            levels = build_levels(upstream, load_series(root, pin.name))
            checked = upstream.supply.received
        whole = checked + fetch(root, pin).bytes_received
    full = args.clone_bytes or clone_bytes(pin.url)
    print(f"{pin.name}: {len(levels) - 1} patches")
    for what, size in (("commit and trees", opened), ("check", checked), ("all wanted", whole)):
        print(f"  {what:<18} {size:>12,} bytes  {size / full:9.4%} of a full clone")
    print(f"  {'full clone':<18} {full:>12,} bytes")
    print(f"check fetches {checked / full:.4%}; goal: at most {GOAL:.0%}")
    return 0 if checked <= GOAL * full or args.port != "diffusers" else 1


if __name__ == "__main__":
    sys.exit(main())
