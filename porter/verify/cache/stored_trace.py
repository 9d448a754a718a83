"""Read traces that lie in the cache: their files may come from elsewhere, so each is checked.

:mod:`porter.verify.harness.trace` reads what a run has just written; here a head that no run writes
is refused in one line. Free of torch until a trace is read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from porter.atomic import read_json
from porter.verify.harness.run_info import FORMAT, HEAD, RunFacts

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace


class _Output(msgspec.Struct):
    shape: list[int]
    dtype: str
    kind: Literal["tensor", "image", "text", "files"]


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What ``trace.json`` holds: the fields of a Trace."""

    format: int
    facts: RunFacts
    versions: dict[str, str]
    counters: dict[str, int | float]
    seconds: float
    peak_bytes: int
    outputs: dict[str, _Output]
    device_title: str
    failures: dict[str, list[str]]
    warnings: list[str]
    sandbox: str = ""


_FACTS = {field.name for field in dataclasses.fields(RunFacts)}


class _Row(msgspec.Struct):
    """What the report reads of a line of events or of CUDA calls; other keys are as they are."""

    kind: str = ""
    what: str = ""
    site: str = ""
    source: str = ""
    count: int = 1
    why: str = ""
    number: int = 0
    ops: int = 0
    nearest: int | None = None
    differs: list[str] = []
    file: str = ""
    line: int = 0
    asked: str = ""
    served: str = ""


def read_head(folder: Path) -> dict[str, Any]:
    """Return a trace's head. Raises OSError, and ValueError for one that no run of this format has
    written."""
    head = read_json(folder / HEAD)
    if isinstance(head, dict) and head.get("format") != FORMAT:
        raise ValueError(f"trace format {head.get('format')!r}, expected {FORMAT}")
    msgspec.convert(head, _Head)
    assert isinstance(head, dict)
    if other := sorted(head["facts"].keys() - _FACTS):
        raise ValueError(f"facts: expected {', '.join(sorted(_FACTS))}, found {other[0]!r}")
    return head


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of events or of CUDA calls; none without a file.

    Raises OSError, and ValueError for a line that no run writes.
    """
    from porter.verify.harness.events import read_lines

    rows = read_lines(path)
    msgspec.convert(rows, list[_Row])
    return rows


def read_trace(folder: Path) -> Trace:
    """Return the trace in a folder of the cache. Raises BadTrace."""
    from porter.verify.harness.trace import BadTrace, read

    try:
        outputs = read_head(folder)["outputs"]
    except (OSError, ValueError) as error:
        raise BadTrace(f"{folder}: no readable trace: {HEAD}: {error}") from error
    trace = read(folder)
    for name, stated in outputs.items():
        tensor, kind = trace.outputs[name], stated["kind"]
        found = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        if found != (stated["shape"], stated["dtype"]):
            raise BadTrace(f"{folder}: {name}: expected {stated}, found {found}")
        dims = {"image": 3, "text": 1, "files": 1}.get(kind, tensor.dim())
        if kind != "tensor" and (tensor.dim(), found[1]) != (dims, "uint8"):
            raise BadTrace(f"{folder}: {name}: expected {kind}, found {found}")
        if kind in ("text", "files"):
            try:
                trace.text(name)
            except UnicodeDecodeError as error:
                raise BadTrace(f"{folder}: {name}: expected UTF-8: {error}") from error
    return trace
