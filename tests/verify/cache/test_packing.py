"""What arrives from a shared cache is taken whole and sound, or not at all."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.verify.cache.packing import (
    Refused,
    pack_trace,
    pack_verdicts,
    unpack_trace,
    unpack_verdicts,
)
from porter.verify.cache.store import Places, keep_verdicts
from porter.verify.harness.run_info import HEAD, PRINTED, TENSORS
from porter.verify.harness.sums import SUMS, sum_of
from porter.verify.judge.result import RecipeResult, Verdict

KEY = "0123456789" * 4
FACTS: dict[str, Any] = {
    **dict.fromkeys(("recipe_sha256", "inputs_sha256", "probe_sha256", "tree"), "a" * 40),
    "port": "port",
    "recipe": "one",
    "level": 1,
    "level_name": "minimal",
    "companions": {},
    "dtype": "float32",
    "device": "cpu",
    "seed": 0,
    "threads": 1,
    "environment": "e",
    "engine": "f",
    "variant": {},
    "environ": {},
    "shaken": False,
    "asks_level": False,
}
HEADER = {"y": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}


def head(**other: Any) -> dict[str, Any]:
    made = {
        "facts": FACTS,
        "versions": {"torch": "2"},
        "counters": {"ops": 3, "ms": 0.5},
        "seconds": 1.5,
        "peak_bytes": 7,
        "device_title": "",
        "failures": {},
        "warnings": [],
        "outputs": {"y": {"shape": [2, 1], "dtype": "float32", "kind": "tensor"}},
        "format": 2,
        "sandbox": "none",
    }
    return made | other


def tensors(header: Any = HEADER, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def files(**other: bytes) -> dict[str, bytes]:
    printed = {name: {"bytes": 0, "left_out": 0, "end": ""} for name in ("stdout", "stderr")}
    made = {HEAD: json.dumps(head()).encode(), TENSORS: tensors()}
    made |= {PRINTED: json.dumps(printed).encode(), "events.jsonl": b'{"kind": "op"}\n'}
    made |= {name.replace("_", "."): content for name, content in other.items()}
    return made | {SUMS: json.dumps({n: sum_of(c) for n, c in made.items()}).encode()}


def packed(found: dict[str, bytes], key: str = KEY, kind: str = "traces") -> bytes:
    return msgspec.msgpack.encode({"format": 1, "kind": kind, "key": key, "files": found})


def written(folder: Path) -> Path:
    place = folder / KEY
    place.mkdir()
    for name, content in files().items():
        (place / name).write_bytes(content)
    return place


def test_a_trace_comes_back_as_it_was(tmp_path: Path) -> None:
    trace = unpack_trace(pack_trace(written(tmp_path)), KEY)

    assert trace.files == files()
    assert (trace.facts.port, trace.facts.level_name) == ("port", "minimal")


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/etc/passwd",
        "a/trace.json",
        "..",
        "",
        "sitecustomize.py",
        "x.pkl",
        "judged.json",
    ],
)
def test_a_file_of_another_name_is_refused(name: str) -> None:
    found = files()
    found[name] = b"{}"
    sums = {n: sum_of(c) for n, c in found.items() if n != SUMS}

    with pytest.raises(Refused, match="expected the files of a trace"):
        unpack_trace(packed(found | {SUMS: json.dumps(sums).encode()}), KEY)


WRONG_TENSORS = {
    "a pickle": b"\x80\x04\x95" + bytes(40),
    "nothing": b"",
    "a header longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "a header that is a list": tensors([]),
    "a header nested too deep": tensors(b"[" * 100_000),
    "an unknown dtype": tensors({"y": {**HEADER["y"], "dtype": "PICKLE"}}),
    "an overlap": tensors({**HEADER, "z": HEADER["y"]}),
    "a gap": tensors({"y": {**HEADER["y"], "data_offsets": [8, 16]}}, bytes(16)),
    "a negative shape": tensors({"y": {**HEADER["y"], "shape": [-2, -1]}}),
    "more bytes than tensors": tensors(data=bytes(9)),
    "fewer bytes than tensors": tensors(data=bytes(7)),
    "other tensors than the head names": tensors({"z": HEADER["y"]}),
}


@pytest.mark.parametrize("what", WRONG_TENSORS)
def test_tensors_that_are_not_what_they_say_are_refused(what: str) -> None:
    with pytest.raises(Refused):
        unpack_trace(packed(files(tensors_safetensors=WRONG_TENSORS[what])), KEY)


@pytest.mark.parametrize(
    "other",
    [
        {"facts": {}},
        {"facts": FACTS | {"level": "1"}},
        {"counters": {"ops": "many"}},
        {"seconds": "long"},
        {"warnings": "one"},
        {"outputs": {}},
        {"format": 1},
        {"warnings": ["\x1b[2J"]},
        {"failures": {"step": ["\x9b2J"]}},
        {"__class__": "os.system"},
    ],
)
def test_facts_of_other_types_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        unpack_trace(packed(files(trace_json=json.dumps(head(**other)).encode())), KEY)


def test_a_key_and_a_kind_of_their_own_are_refused() -> None:
    with pytest.raises(Refused):
        unpack_trace(packed(files(), key="f" * 40), KEY)
    with pytest.raises(Refused):
        unpack_trace(packed(files(), kind="verdicts"), KEY)


@given(st.integers(0), st.integers(0, 7))
def test_any_flipped_bit_is_refused_or_changes_nothing(at: int, bit: int) -> None:
    whole = packed(files())
    data = bytearray(whole)
    data[at % len(data)] ^= 1 << bit

    try:
        trace = unpack_trace(bytes(data), KEY)
    except Refused:
        return
    assert trace.files == files()


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    for unpack in (unpack_trace, unpack_verdicts):
        with pytest.raises(Refused):
            unpack(data, KEY)


def verdicts(folder: Path, narrow: str = "") -> bytes:
    verdict = Verdict(1, "one", "float16", 0, "y", "parity", "fail", narrow=narrow)
    result = RecipeResult("port", "one", "One", (verdict,), 3, 1.5)
    return pack_verdicts(keep_verdicts(Places.under(folder), result, KEY))


@pytest.mark.parametrize(
    "narrow", ["", "porter bisect port --recipe one --where 'n=\"a b\"' --level two"]
)
def test_verdicts_come_back_as_they_were(tmp_path: Path, narrow: str) -> None:
    result, file = unpack_verdicts(verdicts(tmp_path, narrow), KEY)

    assert result.verdicts[0].narrow == narrow
    assert file == next((tmp_path / "verdicts").rglob("*.json")).read_bytes()


@pytest.mark.parametrize(
    "narrow",
    [
        "rm -rf ~",
        "porter bisect port; rm -rf ~",
        "porter bisect $(rm -rf ~)",
        "porter bisect `id`",
        "porter bisect port\nrm -rf ~",
        "porter bisect 'port",
    ],
)
def test_a_command_that_is_not_porters_is_refused(tmp_path: Path, narrow: str) -> None:
    with pytest.raises(Refused, match="not as verdicts are written"):
        verdicts(tmp_path, narrow)


def test_a_text_that_controls_a_terminal_is_refused(tmp_path: Path) -> None:
    verdict = Verdict(1, "one", "float16", 0, "y", "parity", "fail", detail="\x1b]0;title\x07")
    result = RecipeResult("port", "one", "One", (verdict,), 3, 1.5)

    with pytest.raises(Refused, match="control character"):
        pack_verdicts(keep_verdicts(Places.under(tmp_path), result, KEY))


def test_verdicts_under_another_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        unpack_verdicts(verdicts(tmp_path), "f" * 40)
