"""A header read by porter gives the commit that ``git am`` makes of the mail, to the byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porter.git.objects import Oid, encode_commit
from porter.series.header import parse_header
from porter.series.rendering import mail_date, render_header
from tests.generated_trees import EXAMPLES
from tests.plain_upstream import git

FIELDS = "Level: x\nDevices: hpu\nKeeps: all\nGains: some\nOrigin: nothing\nForwarded: not-needed\n"
DIFF = "diff --git a/f b/f\nnew file mode 100644\nindex 0000000..e69de29\n"
TREE = "3d5a503f4062d198b443db5065ca727f8354e7df"
"""Of an empty file `f`."""
SPACES = (" ", "\t", "\u00a0", "\u3000", "\u2003", "\u2028", "\x85", "\x0b", "\x0c", "\x1c")
"""What Python's ``split()`` takes for blanks; to git only the first two are."""

_SLOW = settings(
    max_examples=EXAMPLES * 2, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    shm = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    git(made, "init", "-q")
    git(made, "commit", "-q", "--allow-empty", "-m", "base")
    git(made, "tag", "base")
    yield made
    shutil.rmtree(made)


def mail(author: str, subject: str, body: str, date: str) -> bytes:
    head = f"From: {author}\nDate: {date}\nSubject: {subject}\n\n"
    return f"{head}{body}\n\n{FIELDS}---\n{DIFF}".encode()


def git_am(folder: Path, raw: bytes) -> bytes | str:
    """Return the commit that ``git am`` makes, the author committing, or why it refuses."""
    git(folder, "am", "--abort", check=False)
    git(folder, "checkout", "-qf", "--detach", "base")
    who = parse_header(raw)[0].author
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_CONFIG")}
    env |= {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}
    env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "am", "-q", "--committer-date-is-author-date"]
    done = subprocess.run(command, cwd=folder, input=raw, capture_output=True, env=env)
    if done.returncode:
        return done.stderr.decode()
    return git(folder, "cat-file", "commit", "HEAD")[1]


def porters(folder: Path, raw: bytes) -> bytes | None:
    """Return the level's commit; None where the header cannot make one."""
    header, problems = parse_header(raw)
    if any(problem.blocks for problem in problems):
        return None
    base = Oid(git(folder, "rev-parse", "base")[1].decode().strip())
    return encode_commit(Oid(TREE), [base], header.author, header.author, header.message)


def check_one(folder: Path, raw: bytes) -> None:
    made = porters(folder, raw)
    if made is not None:
        assert git_am(folder, raw) == made


spaces = st.lists(st.sampled_from(SPACES), max_size=2).map("".join)
words = st.sampled_from(
    ("Add", "re:", "Re:", "[hpu]", "[PATCH 1/2]", "[x", "]", ":", ".", "r", "\u4fee", "\ufeffx",
     "=?UTF-8?q?=C3=A4_b?=", "=?utf-8?B?w7w=?=", "=?UTF-8?q?broken", "=?no?x?y?=")
)  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    pairs = draw(st.lists(st.tuples(words, spaces), min_size=1, max_size=4))
    return draw(spaces) + "".join(word + space for word, space in pairs)


names = st.sampled_from(
    ("Ada", "P.O.x", "J\u00f6rg", '"Porter, Ada"', '"a \\"b\\" c"', "(at home)", "ada@home", "a\\b",
     "=?UTF-8?q?Ad=C3=A9la?=", "\u3000", "x" * 40, "\u00fc" * 20, "O'Neill", "'")
)  # fmt: skip


@st.composite
def authors(draw: st.DrawFn) -> str:
    name = "".join(name + draw(spaces) for name in draw(st.lists(names, min_size=1, max_size=3)))
    email = draw(st.sampled_from(("ada@example.org", "ada", "a@b@c", "ada@example.org,", "\u3000")))
    return f"{name} <{email}>{draw(st.sampled_from(('', '', ' (work)')))}"


dates = st.sampled_from(
    ("Thu, 7 Dec 2023 12:00:00 +0100", "7 Dec 2023 12:00:00 -0000", "Fri, 07 Dec 2023 0:00:00 +0",
     "Thu, 31 Feb 2023 23:59:59 +0545", "1 Jan 1970 00:00:00 +0000", "1 Jan 1970 00:00:00 +0100",
     "31 Dec 2099 23:59:59 -1200", "1 Jan 2100 00:00:00 +0000", "7 Dec 2023 12:00:00 +2400",
     "7 Dec 2023 12:00:00 +0160")
)  # fmt: skip
bodies = st.lists(
    st.one_of(
        texts(),
        st.sampled_from(
            ("", " ", "From: a <b>", "from: a", "Date:", "[PATCH] x", ">From x", "From here", "-- ",
             "--- ", "---\x0c", "---- x", "--- \x0c", " Index: x", "* a\x0c", "> 8 ---", "#")
        ),
    ),
    min_size=1, max_size=5,
).map("\n".join)  # fmt: skip


@_SLOW
@given(author=authors(), subject=texts(), body=bodies, date=dates)
def test_the_commit_is_git_ams(
    folder: Path, author: str, subject: str, body: str, date: str
) -> None:
    check_one(folder, mail(author, subject, body, date))


@pytest.mark.parametrize("space", SPACES)
def test_only_ascii_blanks_are_blanks_to_git(folder: Path, space: str) -> None:
    subject = f"[PATCH] {space}One{space}{space}two{space}"
    raw = mail(
        f"Ada{space}P <ada@example.org>",
        subject,
        f"{space}\nWhy{space}\n{space}\nmore",
        "7 Dec 2023 12:00:00 +0100",
    )
    assert porters(folder, raw) is not None
    check_one(folder, raw)


@_SLOW
@given(author=authors(), subject=texts(), body=bodies)
def test_a_rendered_header_is_rendered_the_same_again(author: str, subject: str, body: str) -> None:
    header, problems = parse_header(mail(author, subject, body, "7 Dec 2023 12:00:00 +0100"))
    if any(problem.blocks for problem in problems):
        return
    who = header.author
    once = render_header(
        f"{who.name} <{who.email}>", mail_date(who.seconds, who.zone), header.message
    )
    again, problems = parse_header(once + DIFF.encode())
    if not problems:
        assert (again.author, again.message) == (who, header.message)
        assert render_header(f"{who.name} <{who.email}>", again.date, again.message) == once


@settings(max_examples=EXAMPLES * 5, deadline=None)
@given(
    seconds=st.integers(0, 4102444799),
    zone=st.tuples(st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)),
)
def test_a_date_is_read_as_it_was_written(seconds: int, zone: tuple[str, int, int]) -> None:
    away = f"{zone[0]}{zone[1]:02}{zone[2]:02}"
    who = parse_header(mail("A <a@b>", "x", "why", mail_date(seconds, away)))[0].author
    in_its_year = seconds + (zone[1] * 60 + zone[2]) * (60 if zone[0] == "+" else -60) >= 0
    if in_its_year and " 2100 " not in mail_date(seconds, away):
        assert (who.seconds, who.zone) == (seconds, away.replace("-0000", "+0000"))


def test_dates_are_gits(folder: Path) -> None:
    times = [(0, "+0000"), (1701946800, "+0100"), (951782399, "-1130"), (4102444799, "+2359")]
    for seconds, zone in times:
        env = {"GIT_AUTHOR_DATE": f"@{seconds} {zone}"}
        made = subprocess.run(
            ["git", "commit", "-q", "--allow-empty", "-m", "x"], cwd=folder, env=os.environ | env
        )
        assert made.returncode == 0
        shown = git(folder, "log", "-1", "--format=%aD")[1].decode().strip()
        assert mail_date(seconds, zone) == shown
