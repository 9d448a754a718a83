"""git's own apply in a scratch repository."""

from __future__ import annotations

from pathlib import Path

from porter.git.objects import Oid, blob_id
from porter.levels.build import Builder
from porter.levels.gitapply import Scratch
from porter.levels.levels import build_levels
from porter.upstream.store import open_upstream
from tests.small_port import changed, make_small_port


def test_an_object_that_git_wrote_is_not_written_again() -> None:
    """git makes its objects read-only: writing one again fails for all users but root."""
    body = b"made by git apply\n"
    with Scratch(None) as scratch:
        written = Oid(scratch.git("hash-object", "-w", "--stdin", data=body)[1].decode().strip())
        path = scratch.folder / "objects" / written[:2] / written[2:]
        before = path.stat()
        scratch.put("blob", {blob_id(body): body})
        after = path.stat()
    assert written == blob_id(body)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_the_store_holds_already_is_not_written_again(tmp_path: Path) -> None:
    port = make_small_port(tmp_path)
    port.add_patch("first", changed("a.py", 3))
    with open_upstream(port.root, port.pin) as upstream:

        def written() -> int:
            with Builder(upstream) as builder:
                builder.run(port.series().patches)
                return len([*(builder.scratch().folder / "objects").glob("??/*")])

        assert written() > 0
        build_levels(upstream, port.series(), write=True)
        assert written() == 0
