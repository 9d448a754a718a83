"""Traces: what one run of a probe left behind, on disk.

A trace is a folder:

=======================  =========================================================================
``tensors.safetensors``  the recorded outputs
``trace.json``           what ran, on which tree and device, in which environment; counters; each
                         output's shape, dtype and kind (tensor, image, text, files); warnings.
                         Written last by the run, so a folder without it is no trace
``printed.json``         how many bytes went to stdout and stderr, and the end of each
``events.jsonl``         what happened and where (:mod:`porter.verify.harness.events`), when
anything did ``migration.jsonl``      CUDA calls that another device served
(:mod:`porter.migrate.log`), if any
=======================  =========================================================================

The safetensors file names the same tree, recipe and run in its own metadata, so that
it still says where it comes from when someone mails it around.

Written in the probe's interpreter and read in porter's: torch, safetensors and the standard library
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

MUCH = 2**20
"""Bytes of output from which a run is told that it prints too much."""

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
    process. ``device_title`` names the hardware, with "simulated" where it is that. ``warnings``
    are for people: what makes the run prove less than it seems."""

    facts: RunFacts
    versions: dict[str, str]
    counters: dict[str, int | float]
    seconds: float
    peak_bytes: int
    outputs: dict[str, torch.Tensor]
    device_title: str = ""
    kinds: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    format: int = FORMAT

    def kind(self, output: str) -> str:
        """What the output was recorded as: "tensor", "image" (uint8, H x W x C), "text" or "files"
        (uint8, UTF-8 bytes)."""
        return self.kinds.get(output, "tensor")

    def text(self, output: str) -> str:
        """An output of the kind "text" or "files" as text."""
        return bytes(self.outputs[output].tolist()).decode("utf-8")


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
        "device_title": trace.device_title,
        "warnings": list(trace.warnings),
        "counters": trace.counters,
        "seconds": trace.seconds,
        "peak_bytes": trace.peak_bytes,
        "outputs": {
            name: {
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "kind": trace.kind(name),
            }
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
            found = head["format"]
            raise BadTrace(f"{folder}: trace format {found}, expected {FORMAT}; run it again")
        with safe_open(str(folder / TENSORS), "pt") as file:
            outputs = {name: file.get_tensor(name) for name in head["outputs"]}
        return Trace(
            facts=RunFacts(**head["facts"]),
            versions=head["versions"],
            counters=head["counters"],
            seconds=head["seconds"],
            peak_bytes=head["peak_bytes"],
            outputs=outputs,
            device_title=head["device_title"],
            kinds={name: told["kind"] for name, told in head["outputs"].items()},
            warnings=(*head["warnings"], *_printed_too_much(folder)),
        )
    except BadTrace:
        raise
    except Exception as error:  # safetensors raises its own kinds for a damaged file
        raise BadTrace(f"{folder}: no readable trace: {error}") from error


def _printed_too_much(folder: Path) -> list[str]:
    path = folder / PRINTED
    if not path.is_file():
        return []
    told = json.loads(path.read_text(encoding="utf-8"))
    return [
        f"printed {each['bytes']:,} bytes to {name}, of which {each['left_out']:,} were left out"
        for name, each in told.items()
        if each["bytes"] >= MUCH
    ]
