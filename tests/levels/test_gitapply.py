"""git's own apply in a scratch repository."""

from __future__ import annotations

from porter.git.objects import Oid, blob_id
from porter.levels.gitapply import Scratch


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
