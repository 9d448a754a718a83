"""Which stored runs a report is made from, and what is read with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from porter.report.html_report.stored import StoredRun
    from tests.report.stored_project import StoredProject


def found(project: StoredProject) -> dict[tuple[int, str], StoredRun]:
    from porter.report.html_report.stored import stored_runs

    runs = stored_runs(project.cache / "traces", project.plan())
    return {(p.level, p.device): run for p, run in runs.items() if p.dtype == "float32"}


def test_a_run_of_another_tree_or_probe_is_not_taken(stored: StoredProject) -> None:
    stored.store()
    assert len(found(stored)) == 6

    (stored.port.root / "recipes" / "small" / "one_probe.py").write_text("# changed\n")

    assert found(stored) == {}


def test_a_run_cut_short_is_ignored(stored: StoredProject) -> None:
    stored.store()
    head = found(stored)[1, "cpu"].folder / "trace.json"
    head.write_text(head.read_text()[:100])

    assert (1, "cpu") not in found(stored)


@pytest.mark.parametrize("facts", [[], None, {"seed": "x"}])
def test_a_run_whose_facts_are_none_is_ignored(stored: StoredProject, facts: object) -> None:
    stored.store()
    head = found(stored)[1, "cpu"].folder / "trace.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"facts": facts}))

    assert (1, "cpu") not in found(stored)


@pytest.mark.parametrize("row", [[], "x", {"kind": "h2d", "count": "many"}])
def test_events_that_no_run_writes_lose_nothing_else(stored: StoredProject, row: object) -> None:
    from porter.report.html_report.events import run_events

    stored.runs[1, "cpu"] = {"events": [row], "migration": [row]}
    stored.store()
    run = found(stored)[1, "cpu"]

    assert run_events(run).sites == ()
    assert not stored.gather().ports[0].calls


def test_cached_verdicts_on_exactly_these_runs_are_used(
    stored: StoredProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from porter.report.html_report import stored as module
    from porter.report.html_report.stored import stored_runs
    from porter.verify.cache.keys import RunKey, verdict_key
    from porter.verify.cache.store import Places, keep_verdicts
    from porter.verify.harness.run_info import RunFacts
    from porter.verify.judge.result import RecipeResult, Verdict
    from porter.verify.plan.matrix import run_specs

    stored.store()
    planned, places = stored.plan(), Places.under(stored.cache)
    runs = stored_runs(places.traces, planned)
    known = {
        p: RunKey(RunFacts(**runs[p].head["facts"]), runs[p].folder.name)
        for p in run_specs(planned)
    }
    cached = (Verdict(1, "one", "float32", 0, "y", "parity", "fail"),)
    result = RecipeResult("small", "one", "t", cached, 7, 1.0)
    keep_verdicts(places, result, verdict_key(planned, known))
    monkeypatch.delattr(module, "_judge_again")

    assert module.judge_stored(places, planned).verdicts == cached


def test_equal_causes_of_compilations_are_one_row(stored: StoredProject) -> None:
    from porter.report.html_report.events import run_events

    event = {
        "kind": "compilation",
        "why": "mark_step",
        "site": "a.py:3",
        "nearest": None,
        "differs": [],
    }
    stored.runs[1, "sim:hpu"] = {
        "events": [
            event | {"number": 1, "ops": 5},
            event | {"number": 2, "ops": 9},
            event | {"number": 3, "ops": 4, "nearest": 1, "differs": ["arg 2: 1 was 0"]},
            {"kind": "h2d", "what": "to", "site": "a.py:1", "source": "x.to(d)", "count": 2},
            {
                "kind": "host_sync",
                "what": "item",
                "site": "a.py:2",
                "source": "x.item()",
                "count": 1,
            },
        ]
    }
    stored.store()

    events = run_events(found(stored)[1, "sim:hpu"])

    assert [(c.number, c.times, c.largest) for c in events.compilations] == [(1, 2, 9), (3, 1, 4)]
    assert [(site["kind"], site["count"]) for site in events.sites] == [
        ("host_sync", 1),
        ("h2d", 2),
    ]


def test_events_cut_short_lose_nothing_else(stored: StoredProject) -> None:
    from porter.report.html_report.events import run_events

    stored.runs[1, "sim:hpu"] = {"events": [{"kind": "warning", "what": "odd"}]}
    stored.store()
    run = found(stored)[1, "sim:hpu"]
    (run.folder / "events.jsonl").write_text('{"kind": "war')

    assert run_events(run).compilations == ()


def test_a_call_whose_line_moves_is_one_call_with_the_levels_that_make_it(
    stored: StoredProject,
) -> None:
    row = {"file": "a.py", "source": "m.cuda()", "kind": "match", "asked": "cuda", "served": "hpu"}
    for level in (0, 1):
        stored.runs[level, "sim:hpu"] = {"migration": [row | {"line": 3 + level}]}
    stored.store()

    (call,) = stored.gather().ports[0].calls

    assert (call.site, call.levels, call.device) == ("a.py:3", (0, 1), "sim:hpu")


def test_the_diff_of_a_level_is_bounded_and_says_what_is_left_out(
    stored: StoredProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from porter.report.html_report import gather

    monkeypatch.setattr(gather, "MOST_LINES", 5)

    upstream, first, _ = gather.level_diffs(stored.port.series())

    assert (upstream.lines, first.added, first.removed) == ((), 1, 1)
    assert (len(first.lines), first.lines[0][0]) == (5, "file")
    assert first.more > 0
    assert dict(first.fields)["Devices"] == "hpu"
