"""``porter bisect --between A B``: the first commit of a foreign tree's history that fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from porter.cli import main
from porter.verify.history import Commit, FirstBad, Tried, find_first_bad, open_history, state_of
from porter.verify.judge.result import Verdict
from tests.plain_upstream import git
from tests.small_port import SmallPort
from tests.verify.foreign.conftest import CODE, REORDERED

WRONG = CODE.replace("x * 2", "x * 3")
GRAPH = {1: [0], 2: [1], 3: [2], 4: [1], 5: [4], 6: [3, 5], 7: [6], 8: [7], 9: [8]}
"""A history with a merge: the parents of each commit."""


def make_history(folder: Path, graph: Mapping[int, list[int]] = GRAPH) -> dict[int, str]:
    """Make a repository with this history; return the id of each commit."""
    git(folder, "init", "-q", "-b", "main")
    tree = git(folder, "mktree")[1].decode().strip()
    oids: dict[int, str] = {}
    for number in sorted({0, *graph}):
        parents = [word for at in graph.get(number, []) for word in ("-p", oids[at])]
        made = git(folder, "commit-tree", tree, *parents, "-m", f"commit {number}")
        oids[number] = made[1].decode().strip()
    git(folder, "update-ref", "refs/heads/main", oids[max(oids)])
    return oids


def descendants(first: int) -> set[int]:
    found = {first}
    for number, parents in sorted(GRAPH.items()):
        if found & set(parents):
            found.add(number)
    return found


class Judged:
    """Commits of which some are bad and some are to be skipped; remembers which were judged."""

    def __init__(self, oids: Mapping[int, str], bad: set[int], skipped: set[int]) -> None:
        self.numbers = {oid: number for number, oid in oids.items()}
        self.bad, self.skipped = bad, skipped
        self.judged: list[int] = []

    def __call__(self, commit: Commit) -> Tried:
        number = self.numbers[commit.oid]
        assert commit.subject == f"commit {number}"
        self.judged.append(number)
        if number in self.skipped:
            return Tried(commit, "skipped", why="does not run")
        return Tried(commit, "bad" if number in self.bad else "good")


def search(folder: Path, oids: Mapping[int, str], judged: Judged) -> FirstBad:
    history = open_history(f"{folder}@{oids[0]}", f"{folder}@main", Path())
    return find_first_bad(history, Tried(history.bad, "bad"), judged, lambda _: None)


def test_the_first_bad_commit_is_found_in_a_history_with_merges(tmp_path: Path) -> None:
    oids = make_history(tmp_path)

    for first in GRAPH:
        judged = Judged(oids, descendants(first), set())
        found = search(tmp_path, oids, judged)

        assert (judged.numbers[found.bad.commit.oid], found.between) == (first, ())
        assert len(judged.judged) <= 4


def test_commits_to_skip_leave_the_first_bad_one_among_several(tmp_path: Path) -> None:
    oids = make_history(tmp_path)

    cases: list[tuple[int, set[int], set[int]]] = [
        (7, {6}, {7, 6}),  # the one before cannot be judged
        (8, {2, 3}, {8}),  # those that cannot be judged are before one that is good
        (7, {3, 4, 5, 6}, {3, 4, 5, 6, 7}),
    ]
    for first, skipped, among in cases:
        found = search(tmp_path, oids, Judged(oids, descendants(first), skipped))

        suspects = {found.bad.commit.oid, *(one.commit.oid for one in found.between)}
        assert found.bad.commit.oid == oids[first]
        assert suspects == {oids[number] for number in among}
        assert all(one.why == "does not run" for one in found.between)


PARITY = Verdict(1, "t", "float32", 0, "case/image", "parity", "fail")
RUN = Verdict(1, "t", "float32", 0, "", "", "error", detail="ValueError: x")


@pytest.mark.parametrize(
    ("failed", "there", "state", "why"),
    [
        ([PARITY], [("case/image", "parity", "fail")], "bad", ""),
        ([PARITY], [("case/image", "parity", "pass")], "good", ""),
        ([PARITY], [("case/image", "parity", "pass"), ("z", "parity", "fail")], "good", ""),
        ([PARITY], [("", "", "error")], "skipped", "ended"),
        ([PARITY], [("case", "", "error")], "skipped", "ended"),
        ([PARITY], [("other", "", "error")], "skipped", "case/image was not judged"),
        ([RUN], [("", "", "error")], "bad", ""),
        ([RUN], [("case/image", "parity", "fail")], "good", ""),
    ],
)
def test_what_cannot_be_judged_is_neither_good_nor_bad(
    failed: list[Verdict], there: list[tuple[str, str, str]], state: str, why: str
) -> None:
    from porter.verify.bisect import followed

    verdicts = [
        Verdict(1, "t", "float32", 0, output, claim, word, detail="ended")  # type: ignore[arg-type]
        for output, claim, word in there
    ]

    tried = state_of(Commit("0" * 40, "s"), verdicts, {followed(v): v for v in failed})

    assert (tried.state, tried.why) == (state, why)


@pytest.fixture
def repository(folder: Path) -> Path:
    """The folder with a history: two commits that hold, one that does not run, two that fail."""
    git(folder, "init", "-q", "-b", "main")
    states = [
        ("start", CODE),
        ("reorder", REORDERED),
        ("half done", "import no_such_module\n" + REORDERED),
        ("done", REORDERED + "\n"),
        ("triple", WRONG),
        ("words", WRONG + "\n"),
    ]
    for subject, text in states:
        (folder / "code_of.py").write_text(text)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", subject)
    return folder


def test_the_command_names_the_commit_and_what_fails(
    small: SmallPort, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bisect", "small", "--recipe", "forward", "--between"]
    ends = [f"{repository}@main~5", f"{repository}@main"]

    assert main([*words, *ends]) == 1

    printed = capsys.readouterr().out
    assert " words: fails\n" in printed
    assert " start: holds\n" in printed
    assert " triple is the first commit that fails\n" in printed
    assert "  fail: level 3 tree:fork@" in printed
    assert f"narrow it down: porter compare small upstream {repository}@" in printed

    assert main([*words, f"{repository}@main~5", "main~3", "--json"]) == 1
    border = json.loads(capsys.readouterr().out)["border"]
    assert border["subject"] == "half done"
    assert (border["candidates"], border["skipped"]) == ([border["first_bad"]], [])
    assert "No module named 'no_such_module'" in border["verdicts"][0]["detail"]

    assert main([*words, f"{repository}@main~5", "main~2"]) == 0
    assert "keeps every claim: there is nothing to search" in capsys.readouterr().out
    assert main([*words, f"{repository}@main~1", "main"]) == 2
    assert "to keep the claim, found one that fails too\n" in capsys.readouterr().err
    assert git(repository, "status", "--porcelain")[1] == b""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--between", "{fork}@none", "HEAD"], "found none: no commit of this name in {fork}"),
        (["--between", "{fork}", "HEAD"], "expected a revision, found the folder {fork}"),
        (["--between", "{fork}@HEAD", "HEAD~1"], "expected the first to be an ancestor of the"),
        (["--between", "{fork}@HEAD", "HEAD"], "expected the first to be an ancestor of the"),
        (["--between", "{fork}@HEAD~1", "{other}@HEAD"], "expected revisions of one folder"),
        (["--between", "{fork}@HEAD~1", "HEAD", "--level", "one"], "expected no --level beside it"),
        (["--as", "one"], "--as one: expected --between A B beside it, found none"),
    ],
)
def test_bad_usage_is_one_line(
    small: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    names = {"fork": tmp_path / "fork", "other": tmp_path / "other"}
    for folder in names.values():
        folder.mkdir()
        make_history(folder)
    words = [option.format(**names) for option in options]

    assert main(["bisect", "small", "--recipe", "forward", *words]) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message.format(**names) in err
