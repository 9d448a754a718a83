"""One trace, or the verdicts of one recipe, as the bytes that a shared cache holds.

The bytes are MessagePack of one fixed shape: the key and the files by name. Nothing in it is ever
executed: there is no pickle, a file has one of a few names (so no path leads anywhere), tensors are
safetensors, everything else is JSON of stated types. What does not hold to this is refused whole.

Hashes find damage. They do not make the bytes true: whoever may write into a shared cache decides
what its readers take for a result.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from porter.atomic import parse_json
from porter.verify.cache.keys import reaching
from porter.verify.cache.reads import READS, parse_reads
from porter.verify.cache.store import tensors_header, verdicts_in
from porter.verify.cache.stored_trace import check_rows, parse_head
from porter.verify.harness.events import EVENTS, MIGRATION
from porter.verify.harness.run_info import HEAD, PRINTED, TENSORS, RunFacts
from porter.verify.harness.sums import SUMS, sum_of
from porter.verify.judge.result import RecipeResult, result_to_json

PACK_FORMAT = 1
Kind = Literal["traces", "verdicts"]
KINDS: tuple[Kind, ...] = ("traces", "verdicts")
RESULT = "result.json"
_NEEDED = frozenset({TENSORS, HEAD, PRINTED, SUMS})
_ALLOWED = _NEEDED | {EVENTS, MIGRATION, READS}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip
"""Bytes of an element, by the names of :data:`porter.verify.harness.trace.DTYPES`."""


class Refused(Exception):
    """Bytes of a shared cache that are not what they should be; the text says what is wrong."""


class _Pack(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    kind: Kind
    key: str
    files: dict[str, bytes]


class _Printed(msgspec.Struct):
    bytes: int
    left_out: int


class _Entry(msgspec.Struct):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class PackedTrace:
    """A trace that came as bytes and was found sound: its facts and its files by name."""

    key: str
    facts: RunFacts
    files: dict[str, bytes]

    def of(self, facts: RunFacts) -> PackedTrace:
        """Return the trace with the names of another recipe that needs the same run.

        Raises Refused when the trace is of another run.
        """
        if reaching(facts) != reaching(self.facts):
            raise Refused("it is the trace of another run")
        head = parse_json(self.files[HEAD]) | {"facts": dataclasses.asdict(facts)}
        text = (json.dumps(head, indent=1, sort_keys=True) + "\n").encode()
        sums = parse_json(self.files[SUMS]) | {HEAD: sum_of(text)}
        files = self.files | {HEAD: text, SUMS: json.dumps(sums).encode()}
        return PackedTrace(self.key, facts, files)

    def write(self, folder: Path) -> None:
        """Write the files into a folder, the one that makes it a trace last."""
        folder.mkdir(parents=True)
        for name in sorted(self.files, key=lambda name: name == HEAD):
            (folder / name).write_bytes(self.files[name])


def pack_trace(folder: Path) -> bytes:
    """Return a trace's folder, named by its key, as bytes. Raises OSError, and Refused."""
    files = {name: (folder / name).read_bytes() for name in sorted(_found(folder))}
    packed = _encoded("traces", folder.name, files)
    unpack_trace(packed, folder.name)
    return packed


def _found(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file() and path.name in _ALLOWED}


def unpack_trace(data: bytes, key: str) -> PackedTrace:
    """Return the trace in some bytes. Raises Refused unless they are a sound trace with this key.

    Sound: no file but those of a trace, each as its checksum says; tensors of known dtypes that
    fill their file; JSON of the types that porter reads.
    """
    files = _decoded(data, "traces", key)
    if not _NEEDED <= files.keys() <= _ALLOWED:
        strange = sorted(files.keys() - _ALLOWED) or sorted(_NEEDED - files.keys())
        raise Refused(f"expected the files of a trace, found {strange[0]!r} in its place")
    try:
        sums = msgspec.json.decode(files[SUMS], type=dict[str, str])
        head = parse_head(files[HEAD])
        msgspec.json.decode(files[PRINTED], type=dict[str, _Printed])
        for name in (EVENTS, MIGRATION):
            check_rows([parse_json(line) for line in files.get(name, b"").splitlines()])
        shapes = _tensors(files[TENSORS])
        if READS in files:
            parse_reads(files[READS])
    except (ValueError, RecursionError) as error:
        raise Refused(f"not as a trace is written: {error}") from error
    if sums != {name: sum_of(content) for name, content in files.items() if name != SUMS}:
        raise Refused("a file of it is not as it was written")
    _refuse_controls(*(head[name] for name in ("device_title", "warnings", "failures", "versions")))
    if shapes != {name: tuple(output["shape"]) for name, output in head["outputs"].items()}:
        raise Refused("its tensors are not those that it names")
    return PackedTrace(key, msgspec.convert(head["facts"], RunFacts), files)


def _tensors(data: bytes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a safetensors file that lie side by side and fill it.

    Raises ValueError for any other file.
    """
    header, begin = tensors_header(data)
    header.pop("__metadata__", None)
    entries = msgspec.convert(header, dict[str, _Entry])
    at = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.data_offsets):
        size = _DTYPE_BYTES.get(entry.dtype, -1)
        for length in entry.shape:
            size *= length
        if size < 0 or min(entry.shape, default=0) < 0 or entry.data_offsets != (at, at + size):
            raise ValueError(f"a tensor of {entry.dtype} {entry.shape} at {entry.data_offsets}")
        at += size
    if begin + at != len(data):
        raise ValueError(f"tensors of {at} bytes in {len(data) - begin}")
    return {name: tuple(entry.shape) for name, entry in entries.items()}


def pack_verdicts(path: Path) -> bytes:
    """Return a file of verdicts, named by its key, as bytes. Raises OSError, and Refused."""
    packed = _encoded("verdicts", path.stem, {RESULT: path.read_bytes()})
    unpack_verdicts(packed, path.stem)
    return packed


def unpack_verdicts(data: bytes, key: str) -> tuple[RecipeResult, bytes]:
    """Return the verdicts in some bytes, and their file. Raises Refused.

    A verdict may name a command that goes on from it, which people paste: it must be porter's own,
    with every word quoted.
    """
    files = _decoded(data, "verdicts", key)
    if files.keys() != {RESULT}:
        raise Refused(f"expected {RESULT} alone, found {', '.join(map(repr, sorted(files)))}")
    try:
        result = verdicts_in(files[RESULT], key)
        _refuse_controls(result_to_json(result))
        for verdict in result.verdicts:
            if verdict.narrow and not _is_own_command(verdict.narrow):
                raise ValueError(f"a command that is not porter's: {verdict.narrow!r}")
    except ValueError as error:
        raise Refused(f"not as verdicts are written: {error}") from error
    return result, files[RESULT]


def _refuse_controls(*values: Any) -> None:
    """Raise Refused for a text with control characters: people see it on a terminal."""
    for value in values:
        if isinstance(value, str):
            if found := _CONTROL.search(value):
                raise Refused(f"a text with the control character {found[0]!r}")
        elif isinstance(value, Mapping):
            _refuse_controls(*value.keys(), *value.values())
        elif isinstance(value, (list, tuple)):
            _refuse_controls(*value)


def _is_own_command(line: str) -> bool:
    words = shlex.split(line)
    return words[:1] == ["porter"] and shlex.join(words) == line and line.isprintable()


def _encoded(kind: Kind, key: str, files: dict[str, bytes]) -> bytes:
    return msgspec.msgpack.encode(_Pack(PACK_FORMAT, kind, key, files))


def _decoded(data: bytes, kind: Kind, key: str) -> dict[str, bytes]:
    try:
        pack = msgspec.msgpack.decode(data, type=_Pack)
    except (ValueError, RecursionError) as error:
        raise Refused(f"not as it was written: {error}") from error
    if (pack.format, pack.kind, pack.key) != (PACK_FORMAT, kind, key):
        raise Refused(f"it holds {pack.kind} {pack.key!r} in format {pack.format}")
    return pack.files
