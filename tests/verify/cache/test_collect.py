"""``porter gc`` frees environments and traces that nobody used lately, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

from filelock import FileLock

from porter.places import cache_dir
from porter.upstream.collect import collect


def made(name: str, days: float) -> Path:
    folder = cache_dir() / name
    folder.mkdir(parents=True)
    then = time.time() - days * 86400
    if name.startswith("environments"):
        (folder / "current.json").write_text("{}")
        os.utime(folder / "current.json", (then, then))
    os.utime(folder, (then, then))
    return folder


def test_old_environments_and_traces_go_and_used_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "upstream_pins.yaml").write_text("version: 1\npins: {}\n")
    old = [
        made("environments/old-1", 30),
        made("traces/port/one/k1", 30),
        made("verdicts/port/one/k1", 30),
        made("mutants/port/fates/k1", 30),
        made("probe-names/k1", 30),
        made("runs/7@elsewhere-x", 30),
    ]
    kept = [
        made("environments/new-1", 1),
        made("traces/port/one/k2", 1),
        made("verdicts/port/one/k2", 1),
        made("mutants/port/fates/k2", 1),
        made("probe-names/k2", 1),
        made("runs/8@elsewhere-x", 1),
    ]
    locked = made("environments/locked-1", 30)

    with FileLock(f"{locked}.lock"):
        freed = {each.path for each in collect(tmp_path, dry_run=False)}

    assert freed == set(old)
    assert not any(folder.exists() for folder in old)
    assert all(folder.exists() for folder in (*kept, locked))
