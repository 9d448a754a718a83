"""git checks out exactly the files that the patterns should select."""

from __future__ import annotations

import shutil
import string
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porter.tree.repository import sparse_patterns
from tests.small_project import sealed_git, snapshot

NAMES = st.text(st.sampled_from("ab*?[]!# \\" + string.digits[:2]), min_size=1, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def test_everything_needs_no_patterns() -> None:
    assert sparse_patterns([b"a", b"b/c"], {b"a", b"b/c"}) is None


def test_absent_folder_is_one_pattern() -> None:
    everything = [b"a/%d" % n for n in range(9)] + [b"b/c/1", b"b/c/2", b"b/d"]
    assert sparse_patterns(everything, {b"b/d"}) == [b"/*", b"!/a/", b"!/b/c/"]


@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.sets(PATHS, min_size=1, max_size=8), st.data())
def test_git_checks_out_exactly_the_chosen_files(
    tmp_path: Path, paths: set[str], data: st.DataObject
) -> None:
    files = {p for p in paths if not any(q.startswith(p + "/") for q in paths) and _plain(p)}
    chosen = {p for p in sorted(files) if data.draw(st.booleans())} | {"kept"}
    everything = [p.encode() for p in files | {"kept"}]
    patterns = sparse_patterns(everything, {p.encode() for p in chosen})
    if patterns is None:
        assert chosen == files | {"kept"}
    else:
        assert checked_out(tmp_path / "r", files | {"kept"}, patterns) == chosen


def checked_out(repository: Path, files: set[str], patterns: list[bytes]) -> set[str]:
    """Return the files of a commit of empty ``files`` that a sparse checkout writes."""
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir()
    sealed_git(repository, "init", "--quiet")
    empty = sealed_git(repository, "hash-object", "-w", "--stdin").strip()
    for path in files:
        sealed_git(repository, "update-index", "--add", "--cacheinfo", f"100644,{empty},{path}")
    sealed_git(repository, "commit", "--quiet", "-m", "all")
    (repository / ".git" / "info" / "sparse-checkout").write_bytes(b"\n".join(patterns) + b"\n")
    for key, value in (("core.sparseCheckout", "true"), ("core.sparseCheckoutCone", "false")):
        sealed_git(repository, "config", key, value)
    (repository / ".git" / "index").unlink()
    sealed_git(repository, "read-tree", "-m", "-u", "HEAD")
    return set(snapshot(repository))


def _plain(path: str) -> bool:
    return all(part not in (".", "..") for part in path.split("/"))
