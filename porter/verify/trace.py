"""Traces: what one run of a probe left behind, on disk.

A trace is a folder: ``tensors.safetensors`` (the recorded outputs) and ``trace.json`` (everything
else: what ran, on which tree, in which environment, counters), written last, so a folder without it
is no trace. The safetensors file names the same tree, recipe and run in its own metadata, so that
it still says where it comes from when someone mails it around.

Written in the probe's interpreter and read in porter's: torch, safetensors and the standard library
only.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.verify.facts import FORMAT, HEAD, TENSORS, RunFacts

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
"""What can be recorded, and its name in a safetensors file."""


class BadTrace(Exception):
    """The folder holds no readable trace."""


@dataclass(frozen=True)
class Trace:
    """A finished run. ``versions`` are of the probe's interpreter; bytes and seconds of its
    process."""

    facts: RunFacts
    versions: dict[str, str]
    counters: dict[str, int]
    seconds: float
    peak_bytes: int
    outputs: dict[str, torch.Tensor]
    format: int = FORMAT


def write(folder: Path, trace: Trace) -> None:
    """Write the trace into ``folder``, which exists; the JSON file last and in one step."""
    facts = dataclasses.asdict(trace.facts)
    metadata = {key: str(facts[key]) for key in ("port", "recipe", "tree", "dtype", "seed")}
    metadata["recipe_sha256"] = trace.facts.recipe_sha256
    _write_tensors(folder / TENSORS, trace.outputs, metadata)
    head: dict[str, Any] = {
        "format": FORMAT,
        "facts": facts,
        "versions": trace.versions,
        "counters": trace.counters,
        "seconds": trace.seconds,
        "peak_bytes": trace.peak_bytes,
        "outputs": {
            name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in trace.outputs.items()
        },
    }
    beside = folder / f"{HEAD}.new"
    beside.write_text(json.dumps(head, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(folder / HEAD)


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file: header length, JSON header, the tensors' bytes one after the other.

    Not with safetensors' own functions: they want numpy, which an environment may lack.
    """
    kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, tensor in kept.items():
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in kept.values():
            if tensor.nbytes:
                file.write(ctypes.string_at(tensor.data_ptr(), tensor.nbytes))


def read(folder: Path) -> Trace:
    """Return the trace in ``folder``.

    Raises BadTrace when a file is missing, cut short, or of another format.
    """
    from safetensors import safe_open

    try:
        head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        if head["format"] != FORMAT:
            raise BadTrace(f"{folder}: trace format {head['format']}, expected {FORMAT}")
        with safe_open(str(folder / TENSORS), "pt") as file:
            outputs = {name: file.get_tensor(name) for name in head["outputs"]}
        return Trace(
            facts=RunFacts(**head["facts"]),
            versions=head["versions"],
            counters=head["counters"],
            seconds=head["seconds"],
            peak_bytes=head["peak_bytes"],
            outputs=outputs,
        )
    except BadTrace:
        raise
    except Exception as error:  # safetensors raises its own kinds for a damaged file
        raise BadTrace(f"{folder}: no readable trace: {error}") from error
