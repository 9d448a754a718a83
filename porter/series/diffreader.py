"""Parse patch files, byte for byte, into the values of :mod:`porter.series.diff`.

Anything that ``git diff`` would not have written becomes an oddity; where parsing on would be
guessing, the rest of the section is skipped. Format: git's ``Documentation/diff-generate-patch``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from porter.git.quoting import unquote
from porter.series.diff import MODES, BinaryPart, Diff, FilePatch, Hunk, Kind, NonCanonical

_OF_OLD, _OF_NEW = b" -", b" +"
_BLANK, _MINUS, _PLUS, _LF = b" -+\n"
NO_NEWLINE = b"\\ No newline at end of file"

_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(?: (.*))?\Z")
_INDEX = re.compile(rb"index ([0-9a-f]{4,40})\.\.([0-9a-f]{4,40})(?: (\d{6}))?\Z")
_PLAIN = re.compile(
    rb"diff --git a/((?:[^\x00-\x20\x7f\"\\/]+/)*[^\x00-\x20\x7f\"\\/]+) b/\1\n"
    rb"index ([0-9a-f]{4,40})\.\.([0-9a-f]{4,40}) (100644|100755)\n"
    rb"--- a/\1\n\+\+\+ b/\1\n@@ -"
)
_RUN = re.compile(rb"[-+ \\]*")
_BINARY = re.compile(rb"(literal|delta) (\d+)\Z")
_UNQUOTED_ODD = re.compile(rb'[\x00-\x1f\x7f"\\]|//')


class _Odd(Exception):
    """Raised inside the parser where parsing on would be guessing."""

    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at


@dataclass(slots=True)
class _Section:
    """The header of one ``diff --git`` section, as far as parsed."""

    line: int
    names: tuple[bytes, bytes] | None
    seen: set[bytes] = field(default_factory=set)
    old_mode: int | None = None
    new_mode: int | None = None
    old_id: str | None = None
    new_id: str | None = None
    index_mode: int | None = None
    added: bool = False
    deleted: bool = False
    source: bytes | None = None
    target: bytes | None = None
    moved: Literal["rename", "copy"] | None = None
    minus: bytes | None = None
    plus: bytes | None = None
    hunks: list[Hunk] = field(default_factory=list)
    binary: BinaryPart | None = None


def parse_diff(raw: bytes) -> Diff:
    """Parse every ``diff --git`` section of a patch file. Never raises: see ``Diff.oddities``."""
    return _Parser(raw).parse()


class _Parser:
    def __init__(self, raw: bytes) -> None:
        self.lines = raw.split(b"\n")
        self.oddities: list[NonCanonical] = []
        self.cut_short = bool(self.lines.pop())  # the last line has no newline
        if self.cut_short:
            self.lines.append(raw[raw.rfind(b"\n") + 1 :])
        self.marks = bytes([line[0] if line else _LF for line in self.lines])

    def odd(self, at: int, text: str, *, ignored: bool = False) -> None:
        self.oddities.append(NonCanonical(at + 1, text, ignored))

    def parse(self) -> Diff:
        files: list[FilePatch] = []
        at, end = 0, len(self.lines)
        first = end
        while at < end:
            line = self.lines[at]
            if line.startswith(b"diff --git "):
                first = min(first, at)
                try:
                    plain = self._plain_section(at)
                    if plain is not None:
                        file, at = plain
                    else:
                        section, at = self._section(at)
                        file = self._finish(section)
                    files.append(file)
                except _Odd as odd:
                    self.odd(odd.at, str(odd))
                    at = max(at, odd.at) + 1
                    while at < end and not self.lines[at].startswith(b"diff --git "):
                        at += 1
                continue
            if line.startswith((b"--- ", b"+++ ", b"@@ -")):
                self.odd(at, "a diff outside of any `diff --git` section")
            elif first < end:
                self.odd(at, "text that belongs to no hunk", ignored=True)
            at += 1
        if self.cut_short:
            self.odd(end - 1, "the last line has no newline")
        first_byte = sum(map(len, self.lines[:first])) + first
        return Diff(tuple(files), tuple(self.oddities), first + 1, first_byte)

    # -- one section ------------------------------------------------------------------------------

    def _plain_section(self, at: int) -> tuple[FilePatch, int] | None:
        """Parse a section that edits a file with a plain name, as most do; else return None."""
        match = _PLAIN.match(b"\n".join(self.lines[at : at + 5]))
        if match is None:
            return None
        start = at
        at += 4
        hunks: list[Hunk] = []
        end = len(self.lines)
        while at < end and self.lines[at].startswith(b"@@ -"):
            hunk, at = self._hunk(at)
            hunks.append(hunk)
        _check_order(hunks)
        name, mode = match[1], int(match[4], 8)
        old_id, new_id = match[2].decode(), match[3].decode()
        made = tuple(hunks)
        return (
            FilePatch("modify", name, name, mode, mode, old_id, new_id, made, None, start + 1),
            at,
        )

    def _section(self, at: int) -> tuple[_Section, int]:
        section = _Section(at + 1, _names(self.lines[at][len(b"diff --git ") :]))
        at += 1
        end = len(self.lines)
        while at < end and self._header_line(section, at):
            at += 1
        if at < end and self.lines[at].startswith(b"--- "):
            section.minus = self._side(at, b"--- ", b"a/")
            at += 1
            if at >= end or not self.lines[at].startswith(b"+++ "):
                raise _Odd(min(at, end - 1), "expected a `+++` line after `---`")
            section.plus = self._side(at, b"+++ ", b"b/")
            at += 1
            if at >= end or not self.lines[at].startswith(b"@@ -"):
                raise _Odd(min(at, end - 1), "expected a hunk after the `+++` line")
            while at < end and self.lines[at].startswith(b"@@ -"):
                hunk, at = self._hunk(at)
                section.hunks.append(hunk)
        elif at < end and self.lines[at] == b"GIT binary patch":
            section.binary, at = self._binary(at)
        elif at < end and self.lines[at].startswith(b"Binary files "):
            section.binary = BinaryPart("none", 0, at + 1)
            at += 1
        return section, at

    def _header_line(self, s: _Section, at: int) -> bool:
        """Parse one extended header line; return False when the line is none."""
        line = self.lines[at]
        if line.startswith(b"index "):
            match = _INDEX.match(line)
            if match is None:
                raise _Odd(at, "expected `index <old id>..<new id>[ <mode>]`")
            s.old_id, s.new_id = match[1].decode(), match[2].decode()
            s.index_mode = self._mode(at, match[3]) if match[3] else None
            key = b"index "
        elif line.startswith((b"old mode ", b"deleted file mode ")):
            s.old_mode, s.deleted = self._mode(at, line[-6:]), line[0] == ord("d")
            key = line[:-6]
        elif line.startswith((b"new mode ", b"new file mode ")):
            s.new_mode, s.added = self._mode(at, line[-6:]), line.startswith(b"new file")
            key = line[:-6]
        elif line.startswith((b"rename from ", b"copy from ")):
            key = line[: line.index(b"from ") + 5]
            s.moved = "rename" if line[0] == ord("r") else "copy"
            s.source = self._name(at, line[len(key) :])
        elif line.startswith((b"rename to ", b"copy to ")):
            key = line[: line.index(b"to ") + 3]
            s.target = self._name(at, line[len(key) :])
        elif line.startswith((b"similarity index ", b"dissimilarity index ")):
            key = line[: line.index(b"index ") + 6]
            if not re.fullmatch(rb"\d{1,3}%", line[len(key) :]):
                raise _Odd(at, "expected a percentage")
        else:
            return False
        if key in s.seen:
            raise _Odd(at, f"a second `{key.decode().strip()}`")
        s.seen.add(key)
        return True

    def _mode(self, at: int, text: bytes) -> int:
        try:
            mode = int(text, 8)
        except ValueError:
            mode = 0
        if mode not in MODES:
            raise _Odd(at, "expected a file mode: 100644, 100755, 120000 or 160000")
        return mode

    def _name(self, at: int, text: bytes) -> bytes:
        """Parse a file name alone on its line, quoted or not."""
        name, rest = text, b""
        if text.startswith(b'"'):
            try:
                name, rest = unquote(text)
            except ValueError:
                raise _Odd(at, "a broken quoted file name") from None
        elif _UNQUOTED_ODD.search(text):
            raise _Odd(at, "a file name that git would have quoted")
        if rest or not name or b"\0" in name or b"//" in name or name[:1] == b"/":
            raise _Odd(at, "expected one file name")
        return name

    def _side(self, at: int, marker: bytes, prefix: bytes) -> bytes | None:
        """Parse the file name of a ``---`` or ``+++`` line; None for /dev/null."""
        text = self.lines[at][len(marker) :]
        if text == b"/dev/null":
            return None
        if text.endswith(b"\t") and b" " in text:
            text = text[:-1]  # git puts a tab after a name with a blank in it
        elif b" " in text and not text.startswith(b'"'):
            raise _Odd(at, "a file name with a blank and no tab after it")
        name = self._name(at, text)
        if not name.startswith(prefix) or len(name) == 2:
            raise _Odd(at, f"expected a file name that starts with {prefix.decode()}")
        return name[2:]

    # -- hunks ------------------------------------------------------------------------------------

    def _hunk(self, at: int) -> tuple[Hunk, int]:
        start = at
        match = _HUNK.match(self.lines[at])
        if match is None:
            raise _Odd(at, "expected `@@ -line,count +line,count @@`")
        want_old = int(match[2]) if match[2] is not None else 1
        want_new = int(match[4]) if match[4] is not None else 1
        if whole := self._whole_run(at + 1, want_old, want_new):
            body, at = self.lines[at + 1 : whole], whole
        else:
            body, at = self._body(at + 1, want_old, want_new)
        old = [line[1:] for line in body if line[0] == _BLANK or line[0] == _MINUS]
        new = [line[1:] for line in body if line[0] == _BLANK or line[0] == _PLUS]
        old_cut = new_cut = False
        if not whole:
            if all(line[0] in b" \\" for line in body):
                raise _Odd(start, "a hunk that changes nothing")
            old_cut, new_cut = self._no_newline(start, body)
        old_text = b"\n".join(old) + b"\n" if old else b""
        new_text = b"\n".join(new) + b"\n" if new else b""
        hunk = Hunk(
            int(match[1]), want_old, int(match[3]), want_new, match[5] or b"", tuple(body),
            old_text[:-1] if old_cut else old_text, new_text[:-1] if new_cut else new_text,
            start + 1,
        )  # fmt: skip
        return hunk, at

    def _body(self, at: int, old: int, new: int) -> tuple[list[bytes], int]:
        """Return the lines of a hunk with these counts of old and new lines, and the next index."""
        start, lines, end = at, self.lines, len(self.lines)
        while old or new or (at < end and lines[at][:1] == b"\\"):
            if at >= end:
                raise _Odd(end - 1, "the diff ends inside a hunk")
            mark = lines[at][:1]
            if mark == b" ":
                old -= 1
                new -= 1
            elif mark == b"-":
                old -= 1
            elif mark == b"+":
                new -= 1
            elif not mark:
                self.odd(at, "an empty line inside a hunk (it lost its leading blank)")
                lines[at] = b" "
                continue
            elif mark != b"\\":
                raise _Odd(at, "expected a line that starts with a blank, `+`, `-` or `\\`")
            elif lines[at] != NO_NEWLINE:
                raise _Odd(at, f"expected `{NO_NEWLINE.decode()}`")
            if old < 0 or new < 0:
                raise _Odd(at, "the hunk has more lines than its header counts")
            at += 1
        return lines[start:at], at

    def _whole_run(self, at: int, old: int, new: int) -> int:
        """Return the end of the run of hunk lines at ``at`` if it has exactly the counted lines.

        Nearly every diff that git writes passes, without a look at each line. Returns 0 for a hunk
        that must be parsed line by line.
        """
        found = _RUN.match(self.marks, at)
        assert found is not None
        run = found[0]
        kept, cut, added = run.count(b" "), run.count(b"-"), run.count(b"+")
        if kept + cut != old or kept + added != new or kept == len(run) or b"\\" in run:
            return 0
        return found.end()

    def _no_newline(self, at: int, body: list[bytes]) -> tuple[bool, bool]:
        """Return whether the old and the new side lack their last newline."""
        cut = {_OF_OLD: False, _OF_NEW: False}
        for index, line in enumerate(body):
            if line != NO_NEWLINE:
                continue
            mark = body[index - 1][0] if index else NO_NEWLINE[0]
            if mark == NO_NEWLINE[0]:
                raise _Odd(at, "`\\ No newline at end of file` after no line")
            for side in cut:
                if mark in side:
                    if any(later[0] in side for later in body[index + 1 :]):
                        raise _Odd(at, "`\\ No newline at end of file` before the last line")
                    cut[side] = True
        return cut[_OF_OLD], cut[_OF_NEW]

    def _binary(self, at: int) -> tuple[BinaryPart, int]:
        """Skip the one or two base85 parts; git itself decodes them."""
        start, end = at, len(self.lines)
        match = _BINARY.match(self.lines[at + 1]) if at + 1 < end else None
        if match is None:
            raise _Odd(at, "expected `literal <size>` or `delta <size>` after `GIT binary patch`")
        at += 1
        for _ in range(2):
            if at >= end or not _BINARY.match(self.lines[at]):
                break
            while at < end and self.lines[at]:
                at += 1
            at += 1
        method: Literal["literal", "delta"] = "literal" if match[1] == b"literal" else "delta"
        return BinaryPart(method, int(match[2]), start + 1), min(at, end)

    # -- what a section means ---------------------------------------------------------------------

    def _finish(self, s: _Section) -> FilePatch:
        at = s.line - 1
        kind: Kind
        old: bytes | None
        new: bytes | None
        if s.moved is not None:
            kind, old, new = self._moved(s)
        elif s.names is None:
            raise _Odd(at, "two different names without a rename or copy")
        else:
            if s.source is not None or s.target is not None:
                raise _Odd(at, "half of a rename or copy")
            kind = "add" if s.added else "delete" if s.deleted else "modify"
            old = None if kind == "add" else s.names[0]
            new = None if kind == "delete" else s.names[1]
        if s.added and s.deleted:
            raise _Odd(at, "a file both new and deleted")
        if s.hunks and (s.minus != old or s.plus != new):
            raise _Odd(at, "the `---` and `+++` lines disagree with the `diff --git` line")
        self._check_modes(s, kind)
        self._check_hunks(s, kind)
        old_mode = s.old_mode if s.old_mode is not None else s.index_mode
        new_mode = s.new_mode if s.new_mode is not None else s.index_mode
        return FilePatch(
            kind, old, new,
            None if kind == "add" else old_mode, None if kind == "delete" else new_mode,
            s.old_id, s.new_id, tuple(s.hunks), s.binary, s.line,
        )  # fmt: skip

    def _moved(self, s: _Section) -> tuple[Kind, bytes, bytes]:
        at = s.line - 1
        assert s.moved is not None
        if s.source is None or s.target is None or s.added or s.deleted:
            raise _Odd(at, f"half of a {s.moved}")
        other = b"copy from " if s.moved == "rename" else b"rename from "
        if other in s.seen or (s.moved.encode() + b" to ") not in s.seen:
            raise _Odd(at, "both a rename and a copy")
        if s.source == s.target:
            raise _Odd(at, f"a {s.moved} of a file onto itself")
        return s.moved, s.source, s.target

    def _check_modes(self, s: _Section, kind: Kind) -> None:
        at = s.line - 1
        if kind in ("modify", "rename", "copy"):
            if (s.old_mode is None) != (s.new_mode is None):
                raise _Odd(at, "`old mode` and `new mode` belong together")
            idle = not s.hunks and s.binary is None and s.old_mode == s.new_mode
            if kind == "modify" and idle:
                raise _Odd(at, "a section that changes nothing")
        elif (kind == "add" and s.old_mode is not None) or (
            kind == "delete" and s.new_mode is not None
        ):
            raise _Odd(at, "a mode change of a file that is new or deleted")

    def _check_hunks(self, s: _Section, kind: Kind) -> None:
        at = s.line - 1
        if kind == "add" and any(h.old_count for h in s.hunks):
            raise _Odd(at, "a new file with old lines")
        if kind == "delete" and any(h.new_count for h in s.hunks):
            raise _Odd(at, "a deleted file with lines left")
        _check_order(s.hunks)


def _check_order(hunks: Sequence[Hunk]) -> None:
    old_end = new_end = 0
    for hunk in hunks:
        # A start of n with count 0 means "after line n".
        old, new = hunk.old_start - (hunk.old_count > 0), hunk.new_start - (hunk.new_count > 0)
        if old < old_end or new < new_end:
            raise _Odd(hunk.line - 1, "hunks that overlap or are out of order")
        old_end, new_end = old + hunk.old_count, new + hunk.new_count


def _names(rest: bytes) -> tuple[bytes, bytes] | None:
    """Return the names of a ``diff --git`` line without prefixes if they are equal; else None."""
    if rest.startswith(b'"'):
        try:
            first, tail = unquote(rest)
            second, tail = unquote(tail[1:]) if tail[:2] == b' "' else (tail[1:], b"")
        except ValueError:
            return None
        if tail:
            return None
    else:
        half = len(rest) // 2
        first, second = rest[:half], rest[half + 1 :]
        if len(rest) % 2 == 0 or rest[half : half + 1] != b" " or _UNQUOTED_ODD.search(rest):
            return None
    if first[:2] != b"a/" or second[:2] != b"b/" or first[2:] != second[2:] or not first[2:]:
        return None
    name = first[2:]
    if b"\0" in name or b"//" in name or name[:1] == b"/":
        return None
    return name, name
