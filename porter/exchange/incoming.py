"""Read patches made elsewhere: quilt folders, mailboxes, mails, bare diffs, a git range.

git itself splits mailboxes and decodes mails (``git mailsplit``, ``git mailinfo``). A header of
`DEP-3 <https://dep-team.pages.debian.net/deps/dep3/>`_ that is no mail is read with Python's email
package; text before a diff that is neither is the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email import message_from_string
from pathlib import Path

from porter.editing.level_commits import copy_objects
from porter.editing.stack import Git, read_range
from porter.errors import BadInput, PorterError
from porter.git.run import Answer, run_git
from porter.levels.rediff import export_options
from porter.scratch import scratch_folder
from porter.series.diffreader import parse_diff
from porter.series.mailinfo import decode_words
from porter.series.series import SERIES_FILE, line_words

_DIFF = re.compile(rb"^(?:diff --git |diff -|Index: |--- \S|\*\*\* \S)", re.MULTILINE)
_HEADER_LINE = re.compile(rb"[A-Za-z][\w-]*:|From ")
_MAIL = {"from", "subject"}
_DEP3 = {
    "description", "author", "origin", "forwarded", "bug", "applied-upstream", "last-update",
    "reviewed-by", "acked-by",
}  # fmt: skip
_STRIP = re.compile(r"-p(\d|ab)")


@dataclass(frozen=True, slots=True)
class Incoming:
    """One patch as it was given; what it does not state is empty.

    ``where`` names it in messages, ``name`` is what its level may be called after, ``origin`` is
    where it comes from if that is known. ``guess``: the number of path parts to strip is not known.
    """

    where: str
    name: str
    diff: bytes
    author: str = ""
    date: str = ""
    message: str = ""
    origin: str = ""
    strip: int = 1
    reverse: bool = False
    off: bool = False
    guess: bool = False
    seconds: int = 0

    @property
    def bare(self) -> bool:
        """Whether the patch says nothing about itself."""
        return not self.message


def read_source(git: Git, source: Path) -> list[Incoming]:
    """Return the patches of a quilt folder or of a file. Raises BadInput if it is neither."""
    if source.is_dir():
        for folder in (source, source / "patches", source / "debian" / "patches"):
            if (folder / SERIES_FILE).is_file():
                return _quilt(git, folder)
        raise BadInput(
            f"{source}: expected a folder with a quilt series file, found none; --tree takes a"
            " whole tree, --git a repository"
        )
    if source.name == SERIES_FILE and source.is_file():
        return _quilt(git, source.parent)
    raw = _read(source)
    return list(_mailbox(git, source, raw)) if raw[:5] == b"From " else [_file(git, source, raw)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{path}: expected a patch file or a quilt folder, found none") from None


def _quilt(git: Git, folder: Path) -> list[Incoming]:
    """Read a quilt series: ``-p0``, ``-p1`` and ``-R`` behind a name are what quilt knows."""
    path = folder / SERIES_FILE
    found = []
    for number, line in enumerate(_read(path).decode("utf-8-sig", "replace").split("\n"), 1):
        words, off = line_words(line.removesuffix("\r"))
        if not words or (off and not (folder / words[0]).is_file()):
            continue
        name, *options = words
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadInput(f"{path}:{number}: expected a file in this folder, found {name!r}")
        patch = folder / name
        if not patch.is_file():
            raise BadInput(f"{path}:{number}: {name}: expected a patch file, found none")
        item = replace(_file(git, patch, _read(patch)), off=off, guess=False)
        for option in options:
            if strip := _STRIP.fullmatch(option):
                item = replace(item, strip=1 if strip[1] == "ab" else int(strip[1]))
            elif option == "-R":
                item = replace(item, reverse=True)
            else:
                raise BadInput(f"{path}:{number}: expected -pN or -R, found {option!r}")
        found.append(item)
    return found


def _mailbox(git: Git, path: Path, raw: bytes) -> Iterator[Incoming]:
    """Split a mailbox. Line ends stay as they are, unless the mails' own lines end in CRLF."""
    keep = () if raw.partition(b"\n")[0].endswith(b"\r") else ("--keep-cr",)
    with scratch_folder("mails") as folder:
        answer = git("mailsplit", *keep, "-b", f"-o{folder}", "--", str(path.absolute()))
        mails = sorted(folder.iterdir())
        if len(mails) != int(answer.text or 0):
            raise PorterError(f"{path}: git mailsplit: {answer.err.strip() or 'no mails'}")
        for number, mail in enumerate(mails, 1):
            item = _mail(git, path, mail.read_bytes())
            where = f"{path}: mail {number}" if len(mails) > 1 else str(path)
            yield replace(item, where=where, name="")


def _file(git: Git, path: Path, raw: bytes) -> Incoming:
    """Read a file that holds one patch: a mail, a DEP-3 header or any text, then the diff."""
    begin = next((line for line in raw.splitlines() if line.strip()), b"")
    if begin.endswith(b"\r") and not any(
        line and not line.endswith(b"\r") for line in raw.split(b"\n")
    ):
        raw = raw.replace(b"\r\n", b"\n")
    block = raw.lstrip().partition(b"\n\n")[0]
    names = {name.lower() for name, _ in message_from_string(_text(block)).items()}
    if _HEADER_LINE.match(block) and names & _MAIL and not names & _DEP3:
        return _mail(git, path, raw)
    first = _DIFF.search(raw)
    at = first.start() if first else len(raw)
    item = Incoming(str(path), path.name, raw[at:], guess=True, seconds=int(path.stat().st_mtime))
    head = _without_rule(raw[:at])
    if _HEADER_LINE.match(head) and names & _DEP3:
        return _dep3(item, _text(head))
    return replace(item, message=_text(head).strip())


def _without_rule(head: bytes) -> bytes:
    """Return a header without the ``---`` that ends it and the diffstat behind that."""
    return re.split(rb"^---[ \t]*$|^=+$", head.lstrip(), maxsplit=1, flags=re.MULTILINE)[0]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # as git does


def _mail(git: Git, path: Path, raw: bytes) -> Incoming:
    with scratch_folder("mail") as folder:
        message, patch = folder / "message", folder / "patch"
        form = ("mailinfo", "--encoding=UTF-8", "--no-scissors", str(message), str(patch))
        answer = git(*form, stdin=raw, check=False)
        if answer.status:
            raise BadInput(f"{path}: git cannot read the mail: {answer.err.strip()}")
        rows = (line.partition(": ") for line in _text(answer.out).splitlines())
        info = {key: value for key, _, value in rows}
        text = f"{info.get('Subject', '')}\n\n{_text(message.read_bytes())}".strip()
        author = _author(info.get("Author", ""), info.get("Email", ""))
        return Incoming(
            str(path), path.name, patch.read_bytes(), author, info.get("Date", ""), text,
            seconds=int(path.stat().st_mtime),
        )  # fmt: skip


def _author(name: str, email: str) -> str:
    return f"{name or email} <{email or 'unknown'}>" if name or email else ""


def _dep3(item: Incoming, head: str) -> Incoming:
    """Read the fields of DEP-3; those that a patch of porter does not know stay in its text."""
    mail = message_from_string(head)
    description, author, date = "", "", ""
    rest: list[str] = []
    for key, text in mail.items():
        match key.lower():
            case "description" | "subject":
                description = text
            case "author" | "from":
                match = re.fullmatch(r"\s*(.*?)\s*(?:<([^<>]*)>)?\s*", decode_words(text))
                author = _author(*match.groups("")) if match else ""
            case "date":
                date = text
            case "last-update":
                date = date or f"{text.strip()}T00:00:00+0000"
            case _:
                rest.append(f"{key}: {text}")
    subject, *lines = description.split("\n")
    body = "\n".join("" if line.strip() == "." else line[1:] for line in lines)
    parts = [subject.strip(), body.strip(), str(mail.get_payload()).strip(), "\n".join(rest)]
    message = "\n\n".join(filter(None, parts))
    return replace(item, author=author, date=date, message=message)


def read_git(git_dir: Path, folder: Path, revisions: str, base: str) -> list[Incoming]:
    """Return the commits of a range ``A..B`` of the repository at ``folder``, as patches.

    A revision ``B`` alone means the commits after level 0, ``base``. The contents that they change
    are copied into the scratch repository ``git_dir``, so that a 3-way merge finds them.
    """
    there = repository_git(folder)
    if ".." not in revisions:
        if there("merge-base", "--is-ancestor", base, revisions, check=False).status:
            raise BadInput(
                f"{folder}: {revisions} does not come from level 0 ({base[:10]}); name the commits"
                " as A..B"
            )
        revisions = f"{base}..{revisions}"
    tip = f"{revisions.split('..')[-1] or 'HEAD'}^{{commit}}"
    if there("rev-parse", "--quiet", "--verify", tip, check=False).status:
        raise BadInput(f"{folder}: expected commits there, found no {revisions!r}")
    url = there("config", "--get", "remote.origin.url", check=False).text
    found = []
    for commit in read_range(there, revisions, str(folder)):
        form = ("diff-tree", *export_options(), commit.parents[0], commit.oid, "--")
        diff = there(*form).out
        ids = {each.old_id for each in parse_diff(diff).files if each.old_id}
        copy_objects(there, git_dir, ids - {"0" * 40})
        origin = f"commit {commit.oid}" + (f" of {url}" if url else "")
        found.append(
            Incoming(
                f"{folder}: {commit}", "", diff, commit.author, commit.date, commit.message, origin
            )
        )
    return found


def repository_git(folder: Path) -> Callable[..., Answer]:
    """Return a function that runs git in the repository at ``folder``. Raises BadInput."""

    def git(*args: str, stdin: bytes | None = None, check: bool = True) -> Answer:
        words = ("-c", "core.attributesFile=/dev/null", "-c", "log.showSignature=false")
        return run_git([*words, *args], cwd=folder, stdin=stdin, check=check)

    if not folder.is_dir() or git("rev-parse", "--git-dir", check=False).status:
        raise BadInput(f"{folder}: expected a git repository, found none")
    return git
