"""A complete small project: pins, one upstream behind a file URL, a series, a lock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from porter.git.objects import Oid
from porter.series.series import Series, load_series
from porter.upstream.pins import Pin, Pins, load_pins
from tests.plain_upstream import git

HEADER = """From: Ada Porter <ada@example.org>
Date: Thu, 7 Dec 2023 12:00:00 +0000
Subject: [PATCH] Change {name}

A word on why.

Level: {name}
Devices: hpu
Keeps: all
Gains: some
Origin: nothing
Forwarded: not-needed
---
"""
FILES = {
    "a.py": "".join(f"a{n}\n" for n in range(1, 31)),
    "d/b.py": "".join(f"b{n}\n" for n in range(1, 31)),
    "d/gone.py": "gone\n",
}


@dataclass
class SmallPort:
    """``root`` is the project; ``upstream`` a work tree of the upstream whose HEAD is the pin."""

    root: Path
    upstream: Path
    name: str = "small"

    @property
    def folder(self) -> Path:
        return self.root / "patches" / self.name

    @property
    def pins(self) -> Pins:
        return load_pins(self.root)

    @property
    def pin(self) -> Pin:
        return self.pins.port(self.name)

    def series(self) -> Series:
        return load_series(self.root, self.name)

    def write(self, files: dict[str, str | None]) -> None:
        for name, text in files.items():
            path = self.upstream / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())

    def commit(self) -> Oid:
        git(self.upstream, "add", "-A")
        git(self.upstream, "commit", "-qm", "state")
        return Oid(git(self.upstream, "rev-parse", "HEAD")[1].decode().strip())

    def add_patch(self, name: str, files: dict[str, str | None], *options: str) -> Path:
        """Write the patch from the last state to one with ``files`` and list it in the series."""
        before = git(self.upstream, "rev-parse", "HEAD")[1].decode().strip()
        self.write(files)
        after = self.commit()
        options = ("--full-index", "--binary", "-M", *options)
        diff = git(self.upstream, "diff", *options, before, after)[1]
        number = len(list(self.folder.glob("*.patch"))) + 1
        path = self.folder / f"{number:04}-{name}.patch"
        path.write_bytes(HEADER.format(name=name).encode() + diff)
        with (self.folder / "series").open("a") as series:
            series.write(path.name + "\n")
        return path

    def move_pin(self, files: dict[str, str | None]) -> None:
        """Let the pin name another commit: the one before all patches, with ``files`` changed."""
        git(self.upstream, "checkout", "-qf", self.pin.commit or "")
        self.write(files)
        self.write_pins(self.commit())

    def add_recipe(self, name: str, text: str, probe: str = "") -> Path:
        """Write a recipe and its probe."""
        from tests.verify.folder_trees import write_recipe

        return write_recipe(self.root, self.name, name, text, probe)

    def write_pins(self, commit: Oid) -> None:
        tree = git(self.upstream, "rev-parse", f"{commit}^{{tree}}")[1].decode().strip()
        (self.root / "upstream_pins.yaml").write_text(
            f"version: 1\npins:\n  {self.name}:\n    url: file://{self.upstream}\n"
            f"    commit: {commit}\n    tree: {tree}\n    license: MIT\n"
        )


def make_small_port(folder: Path) -> SmallPort:
    """A project whose upstream holds FILES and whose series is empty."""
    port = SmallPort(folder / "project", folder / "upstream")
    port.folder.mkdir(parents=True)
    port.upstream.mkdir()
    git(port.upstream, "init", "-q")
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git(port.upstream, "config", key, "true")
    port.write(dict(FILES))
    port.write_pins(port.commit())
    (port.folder / "series").write_text("# what small needs\n")
    return port


def changed(name: str, *lines: int, by: str = "changed") -> dict[str, str | None]:
    """FILES' ``name`` with some lines (numbered from 1) replaced."""
    text = FILES[name].splitlines(keepends=True)
    for line in lines:
        text[line - 1] = f"{by} {line}\n"
    return {name: "".join(text)}
