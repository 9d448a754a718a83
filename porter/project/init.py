"""``porter init``: make a project, or complete one. No existing file is changed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from porter.atomic import write_atomic
from porter.places import PINS_FILE
from porter.schemas import SCHEMAS, schema_text

FOLDERS = ("patches", "recipes", "recipes/environments", "migration_logs")
SCHEMA_FOLDER = ".porter"
PINS = f"""\
# yaml-language-server: $schema={SCHEMA_FOLDER}/upstream_pins.schema.json
#
# The exact pin of every upstream: commit, tree id, licence, wanted paths, and other sources of the
# same bytes. `porter add URL` writes an entry, `porter fetch` fetches them all.
version: 1
pins: {{}}
"""
IGNORED = {
    "/trees/": "trees that `porter apply` makes",
    "/porter-report.html": "what `porter report` writes",
    "/porter-verify.*": "results that `porter verify --output` writes",
    ".*.new": "left by a porter that was killed while it wrote",
    "__pycache__/": "Python's own cache",
}
WORKFLOW = """\
name: porter
on: [push, pull_request]
permissions:
  contents: read
jobs:
  porter:
    permissions:
      contents: read
      security-events: write       # code scanning; or omit it and set `sarif: false`
    uses: OWNER/porter/.github/workflows/port.yml@COMMIT
    with:
      porter: "porter @ git+https://HOST/OWNER/porter@COMMIT"
"""
PRE_COMMIT = """\
repos:
  - repo: https://HOST/OWNER/porter     # where your porter comes from
    rev: COMMIT
    hooks:
      - id: porter-lint      # the patch files alone: under a second, no network
      - id: porter-check     # rebuilds every level, compares with levels.lock; fetches once
"""


@dataclass(frozen=True)
class Step:
    """What was done about a file or folder: ``made`` or ``kept``; ``note`` says what to do."""

    path: Path
    made: bool
    note: str = ""


def make_project(root: Path, *, ci: bool = False, pre_commit: bool = False) -> Iterator[Step]:
    """Make what a project in ``root`` lacks; yield each thing. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    yield _file(root / PINS_FILE, PINS)
    for name in SCHEMAS:
        yield _schema(root / SCHEMA_FOLDER, name)
    for name in FOLDERS:
        folder = root / name
        there = folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        yield Step(folder, made=not there)
    yield _gitignore(root)
    top = repository_top(root)
    inside = root.resolve().relative_to(top).as_posix()
    if ci:
        text = WORKFLOW if inside == "." else f"{WORKFLOW}      project: {json.dumps(inside)}\n"
        yield _from_here(top / ".github" / "workflows" / "porter.yml", text)
    if pre_commit:
        yield _from_here(top / ".pre-commit-config.yaml", _hooks(inside))


def repository_top(root: Path) -> Path:
    """Return the top of the git repository around ``root``, or ``root`` itself."""
    here = root.resolve()
    return next((f for f in (here, *here.parents) if (f / ".git").exists()), here)


def _file(path: Path, text: str, note: str = "") -> Step:
    if path.exists() or path.is_symlink():
        return Step(path, made=False)
    write_atomic(path, text.encode())
    return Step(path, made=True, note=note)


def _schema(folder: Path, name: str) -> Step:
    path, text = folder / SCHEMAS[name][2], schema_text(name)
    step = _file(path, text)
    if not step.made and path.read_text(encoding="utf-8", errors="replace") != text:
        return Step(path, False, f"another porter's; `porter schema {name} > {path}` renews it")
    return step


def _gitignore(root: Path) -> Step:
    path = root / ".gitignore"
    text = "".join(f"# {why}\n{line}\n" for line, why in IGNORED.items())
    step = _file(path, text)
    if step.made:
        return step
    there = {line.strip().strip("/") for line in path.read_text(errors="replace").splitlines()}
    if "trees" in there:
        return step
    return Step(path, False, f"it lacks a line: `echo /trees/ >> {shlex.quote(str(path))}`")


def _hooks(inside: str) -> str:
    """Return the configuration of pre-commit, for a project in a subfolder too."""
    if inside == ".":
        return PRE_COMMIT
    where = shlex.quote(inside)
    rows = []
    for row in PRE_COMMIT.splitlines(keepends=True):
        rows.append(row)
        if "id: porter-lint" in row:
            rows.append(f"        entry: porter --root {where} lint --files-only\n")
        if "id: porter-check" in row:
            rows.append(f"        entry: porter --root {where} check --strict\n")
    return "".join(rows)


def _from_here(path: Path, text: str) -> Step:
    """Write a file that names where porter comes from, as far as this installation knows."""
    url, commit = _origin()
    if not commit:
        return _file(path, text, "replace HOST, OWNER and COMMIT by where your porter comes from")
    short = "/".join(url.removesuffix(".git").split("/")[-2:])
    text = text.replace("https://HOST/OWNER/porter", url).replace("OWNER/porter/", f"{short}/")
    return _file(path, text.replace("COMMIT", commit))


def _origin() -> tuple[str, str]:
    """Return URL and commit that pip installed porter from (PEP 610), or nothing."""
    try:
        text = metadata.distribution("porter").read_text("direct_url.json")
        origin = json.loads(text or "{}")
        return str(origin["url"]), str(origin["vcs_info"]["commit_id"])
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return "", ""
