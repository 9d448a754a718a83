"""A port's levels as commits in a temporary repository that borrows the store's objects.

A series is changed there when there is no tree; what import makes before it is published, and what
export packs, is there too. git sees no configuration, attributes or hooks but the repository's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porter.editing.publish import Repository, off_levels
from porter.editing.stack import Commit, Git, read_commits
from porter.errors import PorterError
from porter.git.objects import Oid
from porter.git.odb import Odb, index_pack, sealed_environment
from porter.git.run import Answer, first_error
from porter.levels.gitapply import Scratch
from porter.levels.levels import Level, build_levels
from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.upstream.store import Upstream, open_upstream


def scratch_git(folder: Path) -> Git:
    """Return a function that runs git on a scratch repository, sealed from the user's settings."""

    def git(
        *args: str,
        stdin: bytes | None = None,
        check: bool = True,
        index: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        more = {**(env or {}), **({} if index is None else {"GIT_INDEX_FILE": str(index)})}
        done = subprocess.run(
            ["git", *args],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            env=sealed_environment(folder) | more,
            cwd=folder,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
        if check and answer.status:
            raise PorterError(f"git {args[0]}: {first_error(answer.err)}")
        return answer

    return git


@dataclass(frozen=True)
class LevelCommits:
    """The levels (level 0 first), and the commits of those above level 0.

    ``folder`` is the temporary repository; ``repository`` names it for the engine.
    """

    repository: Repository
    folder: Path
    upstream: Upstream
    levels: tuple[Level, ...]
    base: Commit
    commits: tuple[Commit, ...]

    @property
    def git(self) -> Git:
        return self.repository.git

    @property
    def off(self) -> set[str]:
        """The levels that are off by default."""
        return off_levels(self.repository.folder)

    def last_on(self) -> Level:
        """Return the last level that is not off by default."""
        return [level for level in self.levels if not level.off][-1]

    def bring(self, paths: Iterable[bytes]) -> None:
        """Fetch the upstream's content of these paths, as far as a source serves it."""
        listing = self.upstream.listing()
        rows = (listing[path] for path in paths if path in listing)
        self.upstream.bring(row.oid for row in rows if row.is_blob)


@contextmanager
def level_commits(root: Path, port: str) -> Iterator[LevelCommits]:
    """Build the levels of a port's series, and open a temporary repository that holds them.

    Raises what building the levels raises.
    """
    pins = load_pins(root)
    series = load_series(root, port)
    with open_upstream(root, pins.port(port)) as upstream:
        levels = build_levels(upstream, series, write=True)
        with Scratch(upstream.git_dir / "objects") as scratch:
            folder, first = scratch.folder, upstream.commit
            (folder / "shallow").write_text(f"{first}\n")
            git = scratch_git(folder)
            repository = Repository(root, port, pins, git, folder / "objects")
            base = Commit(first, (), levels[0].tree, "", "", "")
            commits = read_commits(git, first, levels[-1].commit, port)
            made = LevelCommits(repository, folder, upstream, levels, base, tuple(commits))
            made.bring({path for level in levels for path in level.files})
            yield made


def copy_objects(there: Git, git_dir: Path, oids: Iterable[str]) -> None:
    """Copy those objects that ``git_dir`` lacks from another repository."""
    wanted = {Oid(oid) for oid in oids}
    with Odb(git_dir) as odb:
        lacking = wanted - odb.has(wanted)
    if lacking:
        names = "".join(f"{oid}\n" for oid in sorted(lacking)).encode()
        index_pack(git_dir, there("pack-objects", "-q", "--stdout", stdin=names).out)


def copy_commits(there: Git, git_dir: Path, tips: Iterable[str], without: Iterable[str]) -> None:
    """Copy commits and all they hold, except what ``without`` holds, into ``git_dir``."""
    rows = "".join([*(f"{tip}\n" for tip in tips), *(f"^{oid}\n" for oid in without)])
    form = ("pack-objects", "--revs", "-q", "--stdout", "--missing=allow-any")
    index_pack(git_dir, there(*form, stdin=rows.encode()).out)
