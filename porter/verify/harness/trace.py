"""Write and read traces: the files of one probe run.

A trace is a folder:

=======================  =========================================================================
``tensors.safetensors``  the recorded outputs
``trace.json``           what ran, on which tree and device, in which environment; counters; each
                         output's shape, dtype and kind (tensor, image, text, files); warnings.
                         The run writes it last, so a folder without it is no trace
``printed.json``         how many bytes went to stdout and stderr, and the end of each
``events.jsonl``         events and their lines (:mod:`porter.verify.harness.events`), if any
``migration.jsonl``      CUDA calls that another device ran (:mod:`porter.migrate.log`), if any
=======================  =========================================================================

The safetensors file also names its tree, recipe and run in its metadata, so that a copy still says
where it comes from.

Written by the probe's interpreter and read by porter's: torch, safetensors and the standard library
only.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from porter.verify.harness.run_info import FORMAT, HEAD, PRINTED, TENSORS, RunFacts
from porter.verify.harness.sums import SUMS, damage_of

MUCH = 2**20
"""Runs that print at least this many bytes get a warning."""

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The dtypes that can be recorded, and their names in a safetensors file."""


class BadTrace(Exception):
    """The folder holds no readable trace."""


@dataclass(frozen=True)
class Trace:
    """A finished run. ``versions`` are those of the probe's interpreter; bytes and seconds are its
    process's. ``device_title`` names the hardware, and says if it is simulated. ``failures``
    holds, by the name of a failed attempt, its message and the lines of the tree; ``warnings`` say
    what makes the run prove less than it seems. ``sandbox`` is what held the run: "namespaces",
    "bubblewrap", "none", or "" for a trace of an earlier version."""

    facts: RunFacts
    versions: dict[str, str]
    counters: dict[str, int | float]
    seconds: float
    peak_bytes: int
    outputs: dict[str, torch.Tensor]
    device_title: str = ""
    kinds: dict[str, str] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    format: int = FORMAT
    sandbox: str = ""

    def kind(self, output: str) -> str:
        """Return an output's kind: "tensor", "image" (uint8, H x W x C), "text" or "files" (uint8,
        UTF-8 bytes)."""
        return self.kinds.get(output, "tensor")

    def text(self, output: str) -> str:
        """Return an output of the kind "text" or "files" as text."""
        return bytes(self.outputs[output].tolist()).decode("utf-8")


def write(folder: Path, trace: Trace) -> None:
    """Write the trace into ``folder``, which exists; the JSON file last and atomically."""
    facts = dataclasses.asdict(trace.facts)
    metadata = {key: str(facts[key]) for key in ("port", "recipe", "tree", "dtype", "seed")}
    metadata["recipe_sha256"] = trace.facts.recipe_sha256
    _write_tensors(folder / TENSORS, trace.outputs, metadata)
    outputs = {
        name: {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "kind": trace.kind(name),
        }
        for name, tensor in trace.outputs.items()
    }
    head = {**vars(trace), "facts": facts, "outputs": outputs}
    del head["kinds"]
    beside = folder / f"{HEAD}.new"
    beside.write_text(json.dumps(head, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(folder / HEAD)


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file: header length, JSON header, the tensors' bytes one after the other.

    Not with safetensors' own functions, which need numpy: an environment may lack it.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, tensor in contiguous.items():
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in contiguous.values():
            file.write(raw(tensor))


def raw(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a contiguous tensor (without numpy, which may be absent)."""
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.nbytes else b""


def read(folder: Path) -> Trace:
    """Return the trace in ``folder``.

    Raises BadTrace if a file is missing, cut short, of another format, or not what its checksum
    says (a run that is under way has none yet).
    """
    from safetensors import safe_open

    if (folder / SUMS).is_file() and (damage := damage_of(folder)):
        raise BadTrace(f"{folder}: {damage}")
    try:
        head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        if (found := head["format"]) != FORMAT:
            raise BadTrace(f"{folder}: trace format {found}, expected {FORMAT}; run it again")
        with safe_open(str(folder / TENSORS), "pt") as file:
            outputs = {name: file.get_tensor(name) for name in head["outputs"]}
        read = {
            "facts": RunFacts(**head["facts"]),
            "outputs": outputs,
            "kinds": {name: output["kind"] for name, output in head["outputs"].items()},
            "warnings": (*head["warnings"], *_printed_too_much(folder)),
        }
        return Trace(**head | read)
    except BadTrace:
        raise
    except Exception as error:  # safetensors raises its own kinds for a damaged file
        raise BadTrace(f"{folder}: no readable trace: {error}") from error


def _printed_too_much(folder: Path) -> list[str]:
    path = folder / PRINTED
    if not path.is_file():
        return []
    printed = json.loads(path.read_text(encoding="utf-8"))
    return [
        f"printed {each['bytes']:,} bytes to {name}, of which {each['left_out']:,} were left out"
        for name, each in printed.items()
        if each["bytes"] >= MUCH
    ]
