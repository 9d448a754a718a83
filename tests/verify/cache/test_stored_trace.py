"""Traces whose files are not what a run writes: refused in a line, or not taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from porter.verify.cache.store import Places, find_trace
from porter.verify.cache.stored_trace import read_head, read_rows, read_trace
from porter.verify.harness import trace
from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.sums import write_sums
from porter.verify.harness.trace import BadTrace

FACTS = RunFacts("toy", "tiny", "a", "b", "c", 1, "one", "d", {}, "float32", "cpu", 0, 1, "e", "f")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trace of two outputs, in a cache, with its sums."""
    place = tmp_path / "traces" / "toy" / "tiny" / "key"
    place.mkdir(parents=True)
    outputs = {"y": torch.ones(2, 3), "t": torch.tensor([104, 105], dtype=torch.uint8)}
    trace.write(
        place, trace.Trace(FACTS, {"torch": "2"}, {"n": 1}, 0.5, 7, outputs, kinds={"t": "text"})
    )
    write_sums(place)
    return place


def change(folder: Path, edit: Change) -> None:
    head = json.loads((folder / "trace.json").read_text())
    edit(head)
    (folder / "trace.json").write_text(json.dumps(head))
    write_sums(folder)


def test_a_trace_is_read_as_it_was_written(folder: Path) -> None:
    found = read_trace(folder)
    assert (found.facts, found.text("t"), found.counters) == (FACTS, "hi", {"n": 1})
    assert torch.equal(found.outputs["y"], torch.ones(2, 3))
    assert find_trace(Places.under(folder.parents[3]), FACTS, "key") == folder


@pytest.mark.parametrize(
    "edit",
    [
        lambda head: head.update(facts=[]),
        lambda head: head["facts"].update(seed="one"),
        lambda head: head["facts"].pop("tree"),
        lambda head: head["facts"].update(another=1),
        lambda head: head.update(counters={"n": None}),
        lambda head: head.update(seconds="soon"),
        lambda head: head.update(warnings=None),
        lambda head: head["outputs"]["y"].update(shape=7),
        lambda head: head.update(another=1),
        lambda head: head.update(format=[2]),
    ],
)
def test_a_head_that_no_run_writes_is_refused(folder: Path, edit: Change) -> None:
    change(folder, edit)
    with pytest.raises(ValueError, match=r"(?i)expected|missing|unknown"):
        read_head(folder)
    with pytest.raises(BadTrace, match=r"trace\.json: ") as caught:
        read_trace(folder)
    assert "\n" not in str(caught.value)
    assert find_trace(Places.under(folder.parents[3]), FACTS, "key") is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda head: head["outputs"]["y"].update(shape=[3, 2]),
        lambda head: head["outputs"]["y"].update(dtype="float64"),
        lambda head: head["outputs"]["y"].update(kind="image"),
        lambda head: head["outputs"]["y"].update(kind="text"),
    ],
)
def test_an_output_that_is_not_what_its_head_says_is_refused(folder: Path, edit: Change) -> None:
    change(folder, edit)
    with pytest.raises(BadTrace, match="y: expected "):
        read_trace(folder)


def test_text_that_is_no_text_is_refused(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes().replace(b"hi", b"h\xff"))
    write_sums(folder)
    with pytest.raises(BadTrace, match="t: expected UTF-8"):
        read_trace(folder)


@pytest.mark.parametrize(
    "start", [b"\xff" * 8, (2**40).to_bytes(8, "little"), b"\0" * 8, b"\x02" + b"\0" * 7 + b"[]"]
)
def test_a_length_or_header_of_tensors_that_is_none_gives_no_trace(
    folder: Path, start: bytes
) -> None:
    path = folder / "tensors.safetensors"
    path.write_bytes(start + path.read_bytes()[len(start) :])
    assert find_trace(Places.under(folder.parents[3]), FACTS, "key") is None


@pytest.mark.parametrize("row", ["[]", '"x"', '{"count": "many"}', '{"differs": null}', "{"])
def test_a_row_that_no_run_writes_is_refused(tmp_path: Path, row: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "h2d", "detail": "more"}\n')
    assert read_rows(path) == [{"kind": "h2d", "detail": "more"}]
    path.write_text(f"{row}\n")
    with pytest.raises(ValueError, match=r"."):
        read_rows(path)
