#!/usr/bin/env python3
"""Check that every output shown in README.md and docs/ is what its command prints; --write updates.

An output stands in an indented or ```console block below a line ``$ COMMAND``. A page's commands
run in order, in one shell, in a copy of the project's pins, patches, recipes and logs; ``/home/me``
on a page stands for that copy. A line ``...`` stands for any lines, and ``...`` at a line's end for
the rest of it. Durations and the number of cached runs may differ; progress lines are left out. A
block of commands without output is not run. ``$ cat FILE`` makes the file when it does not exist.

A comment right above a block says what the block itself does not:

    <!-- output: slow (2 minutes)          or quick (the default), or left out: and the reason
    needs: PORT                            skipped where no source serves this upstream
    before: SHELL COMMAND                  runs first and is not shown; $PROJECT is the copy
    command: SHELL COMMAND                 what prints a block that has no `$` line
    -->

Exit codes: 0 every output made is as shown (or was written), 1 some are not, 2 a command is broken.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT_PARTS = ("upstream_pins.yaml", "patches", "recipes", "migration_logs")
SHOWN_HOME = "/home/me"
COLUMNS = "100"

_COMMENT = re.compile(r"<!-- output: (quick|slow|left out)(.*?)-->", re.DOTALL)
_TAKES_MINUTES = re.compile(r"\bporter (verify|compare|bisect|mutate|migration-log)\b")
_PROGRESS = re.compile(
    rb"^porter: (?:\d+ of \d+ runs done|(?:building the )?environment ).*\n", re.M
)
_DURATION = re.compile(r"\b\d[\d.,]* (?:ms|s|min)\b")
_FROM_CACHE = re.compile(r", (?:all|\d+) from the cache")
_SANDBOX = re.compile(r"; sandbox: .*")  # what the kernel of this machine allows
_MARK = re.compile(rb"\0(-?\d+) (\d+)\0\n?")


@dataclass
class Command:
    """A command of a page, and the lines of output shown below it."""

    line: int
    text: str
    first: int  # index of the first shown line in the page
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A block of a page with its commands and what its comment says."""

    line: int
    indent: str
    commands: list[Command] = field(default_factory=list)
    kind: str = "quick"
    note: str = ""
    needs: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


class BrokenCommand(Exception):
    """A page's command could not be run at all."""


def blocks_of(text: str) -> list[Block]:
    """Return a page's blocks that show outputs, in order.

    Raises BrokenCommand for a comment that no block follows.
    """
    lines = text.split("\n")
    comments = {text[: m.end()].count("\n"): m for m in _COMMENT.finditer(text)}
    found: list[Block] = []
    row = 0
    while row < len(lines):
        end = _end_of_block(lines, row)
        if end == row:
            row += 1
            continue
        above = row - 1
        while above > 0 and not lines[above].strip():
            above -= 1
        fenced = lines[row].startswith("```")
        body = (row + 1, end - 1) if fenced else (row, end)
        block = _block(lines, *body, "" if fenced else "    ", comments.pop(above, None))
        if block is not None:
            found.append(block)
        row = end
    if comments:
        raise BrokenCommand(f"{min(comments) + 1}: no block follows this comment")
    return found


def _end_of_block(lines: list[str], row: int) -> int:
    """Return the index after the code block that begins at ``row``, or ``row``: none does."""
    if lines[row].startswith("```"):
        return next((i + 1 for i in range(row + 1, len(lines)) if lines[i] == "```"), len(lines))
    if not lines[row].startswith("    ") or (row and lines[row - 1].strip()):
        return row
    end = row
    for i in range(row, len(lines)):
        if lines[i].startswith("    "):
            end = i + 1
        elif lines[i]:
            break
    return end


def _block(
    lines: list[str], begin: int, end: int, indent: str, comment: re.Match[str] | None
) -> Block | None:
    block = Block(begin + 1, indent)
    command = ""
    if comment is not None:
        block.kind = comment[1]
        note, *rest = comment[2].rstrip().split("\n")
        block.note = note.strip()
        for line in rest:
            key, _, value = line.partition(": ")
            if key == "command":
                command = value
            elif key in ("needs", "before"):
                getattr(block, key).append(value)
            else:
                raise BrokenCommand(f"{begin + 1}: a comment's line begins with {key!r}")
    body = [line.removeprefix(indent) for line in lines[begin:end]]
    if command:
        block.commands.append(Command(begin + 1, command, begin, body))
        return block
    row = 0
    while row < len(body):
        if body[row].startswith("$ "):
            text, line = body[row][2:], begin + row + 1
            while text.endswith("\\") and row + 1 < len(body):
                row += 1
                text += "\n" + body[row]
            block.commands.append(Command(line, text, begin + row + 1))
        elif block.commands:
            block.commands[-1].shown.append(body[row])
        elif comment is None:
            return None
        row += 1
    shows = any(any(command.shown) for command in block.commands)
    if not shows and comment is None:
        return None
    for shown in block.commands:
        if block.kind == "quick" and _TAKES_MINUTES.search(shown.text):
            raise BrokenCommand(f"{shown.line}: takes minutes: needs the comment `output: slow`")
    return block


def run(blocks: list[Block], slow: bool) -> tuple[dict[int, list[str]], list[str]]:
    """Run a page's commands; return what each printed, by its line, and why others did not run.

    Raises BrokenCommand when a command is not found or a ``before`` fails.
    """
    folder = Path(tempfile.mkdtemp(prefix="doc-outputs-")).resolve()
    try:
        for part in PROJECT_PARTS:
            source = CHECKOUT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part)
        unreached = {
            port: reason
            for port in {port for b in blocks for port in b.needs if slow or b.kind == "quick"}
            if (reason := _unreached(port, folder))
        }
        script, left = _PRELUDE, []
        for block in blocks:
            missing = [unreached[port] for port in block.needs if port in unreached]
            if block.kind == "left out":
                left.append(f"{block.line}: left out{block.note}")
            elif block.kind == "slow" and not slow:
                left.append(f"{block.line}: slow {block.note}, made with --slow")
            elif missing:
                left.append(f"{block.line}: skipped: {missing[0]}")
            else:
                script += _script(block)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return _printed(done.stdout, folder), left
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_PRELUDE = f"""
porter() {{ {shlex.quote(sys.executable)} -m porter "$@"; }}
python() {{ {shlex.quote(sys.executable)} "$@"; }}
"""


def _environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "PORTER_ROOT"}
    return kept | {
        "PROJECT": str(folder),
        "CHECKOUT": str(CHECKOUT),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": COLUMNS,
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def _unreached(port: str, folder: Path) -> str:
    """Say why an upstream cannot be had here, in a line; nothing when it can."""
    done = subprocess.run(
        [sys.executable, "-m", "porter", "fetch", "--strict", port],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
    )
    reason = (done.stderr or done.stdout).split("\n")[0]
    return " ".join(reason.split()) if done.returncode else ""


def _script(block: Block) -> str:
    """Write a block as shell; after each command comes a mark with its line and exit status."""
    script = "".join(
        f"eval {shlex.quote(text)} >/dev/null || printf '\\0-%s %s\\0\\n' {block.line} $?\n"
        for text in block.before
    )
    for command in block.commands:
        if made := re.fullmatch(r"cat ([\w.-]+)", command.text):
            text = "\n".join(command.shown).rstrip() + "\n"
            script += f"[ -e {made[1]} ] || printf %s {shlex.quote(text)} >{made[1]}\n"
        script += f"printf '\\0%s 0\\0\\n' 0; eval {shlex.quote(command.text)}\n"
        script += f"printf '\\0%s %s\\0\\n' {command.line} $?\n"
    return script


def _printed(output: bytes, folder: Path) -> dict[int, list[str]]:
    """Divide a shell's output by its marks."""
    printed = {}
    *pieces, rest = _MARK.split(_PROGRESS.sub(b"", output))
    for text, line, status in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        words = text.decode("utf-8", "replace").replace(str(folder), SHOWN_HOME)
        if line.startswith(b"-") or status in (b"126", b"127"):
            raise BrokenCommand(f"{abs(int(line))}: exit status {int(status)}\n{words}")
        if int(line):
            lines = [one.rstrip() for one in words.split("\n")]
            printed[int(line)] = _without_outer_blanks(lines)
    if rest.strip():
        raise BrokenCommand(f"0: the shell ended early\n{rest.decode('utf-8', 'replace')}")
    return printed


def _without_outer_blanks(lines: list[str]) -> list[str]:
    begin, end = 0, len(lines)
    while begin < end and not lines[begin]:
        begin += 1
    while end > begin and not lines[end - 1]:
        end -= 1
    return lines[begin:end]


def as_shown(printed: list[str], shown: list[str]) -> list[str]:
    """Return what a page should show of an output: the page's own lines where they still hold."""
    gaps = [row for row, line in enumerate(shown) if line.strip() == "..."]
    if not gaps:
        return [_line(line, row, shown) for row, line in enumerate(printed)]
    result: list[str] = []
    position = 0
    for begin, end in zip([-1, *gaps], [*gaps, len(shown)], strict=True):
        part = shown[begin + 1 : end]
        last = len(printed) - len(part)
        if begin == -1:
            position = 0
        elif end == len(shown):
            position = max(position, last)
        elif part:
            position = max(
                range(position, max(position, last) + 1),
                key=lambda at: sum(map(_same, part, printed[at:])),
            )
        window = printed[position : position + len(part)]
        result += [_line(line, row, part) for row, line in enumerate(window)]
        result += shown[end : end + 1]
        position += len(part)
    return result


def _line(line: str, row: int, shown: list[str]) -> str:
    beside = shown[row : row + 1]
    for one in (*beside, *shown):
        if _same(one, line):
            return one
    if beside and beside[0].endswith("..."):
        return line[: len(beside[0]) - 3] + "..."
    return line


def _same(shown: str, printed: str) -> bool:
    if shown.endswith("...") and _plain(printed).startswith(_plain(shown[:-3])):
        return True
    return _plain(shown) == _plain(printed)


def _plain(line: str) -> str:
    """Return a line without what differs from run to run, or from machine to machine."""
    return _DURATION.sub("N s", _SANDBOX.sub("", _FROM_CACHE.sub("", line)))


def compare(page: Path, slow: bool, write: bool) -> tuple[int, int]:
    """Make a page's outputs; print, or write, what differs. Return how many: made, differing."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(CHECKOUT) if page.is_relative_to(CHECKOUT) else page
    try:
        blocks = blocks_of(text)
        printed, left = run(blocks, slow) if blocks else ({}, [])
    except BrokenCommand as error:
        raise BrokenCommand(f"{name}:{error}") from None
    for reason in left:
        print(f"{name}:{reason}")
    edits: list[tuple[int, int, list[str]]] = []
    for block in blocks:
        for command in block.commands:
            if command.line not in printed:
                continue
            shown = _without_outer_blanks(command.shown)
            made = as_shown(printed[command.line], shown)
            if made == shown:
                continue
            begin = command.first + (command.shown.index(shown[0]) if shown else 0)
            edits.append((begin, len(shown), [f"{block.indent}{one}".rstrip() for one in made]))
            if not write:
                print(f"{name}:{command.line}: $ {command.text}")
                print("\n".join(_difference(shown, made)))
    if write and edits:
        lines = text.split("\n")
        for begin, length, new in reversed(edits):
            lines[begin : begin + length] = new
        page.write_text("\n".join(lines), encoding="utf-8")
    return len(printed), len(edits)


def _difference(shown: list[str], made: list[str]) -> list[str]:
    import difflib

    found = list(difflib.unified_diff(shown, made, "on the page", "printed", n=1, lineterm=""))
    return [f"    {line}" for line in found]


def main() -> int:
    """Check the pages given, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("pages", nargs="*", type=Path, help="pages (default: README.md and docs/)")
    parser.add_argument("--slow", action="store_true", help="also make outputs that take minutes")
    parser.add_argument("--write", action="store_true", help="put what was printed into the pages")
    options = parser.parse_args()
    pages = [page.resolve() for page in options.pages]
    pages = pages or [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
    made = differing = 0
    try:
        for page in pages:
            of_page = compare(page, options.slow, options.write)
            made, differing = made + of_page[0], differing + of_page[1]
    except BrokenCommand as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{made} outputs made, {differing} {'written' if options.write else 'differ'}")
    return 1 if differing and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
