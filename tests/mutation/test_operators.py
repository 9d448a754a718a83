"""Each imitated mistake, by the text it makes of a line."""

from __future__ import annotations

import ast
import bisect
import colorsys
import heapq
import inspect
import reprlib
from types import ModuleType

import pytest

from porter.mutation.edits import KINDS
from porter.mutation.operators import edits
from porter.source_text import Source

MISTAKES = {
    "off-by-one": [
        ("for i in range(n): f(i)", "for i in range((n) - 1): f(i)"),
        ("for i in range(a, b): f(i)", "for i in range((a) + 1, b): f(i)"),
        ("x = a < b", "x = a <= b"),
        ("x = steps[0]", "x = steps[1]"),
        ("x = steps[1:]", "x = steps[2:]"),
    ],
    "swapped-operands": [
        ("x = a - b * c", "x = ((b * c) - a)"),
        ("x = torch.where(m, a, b)", "x = torch.where(m, b, a)"),
    ],
    "dropped-term": [
        ("x = a + b", "x = a"),
        ("x = a + b", "x = b"),
        ("x = a and b and c", "x = (a and c)"),
        ("x = torch.cat([a, b])", "x = torch.cat([a])"),
        ("x += y", "pass"),
    ],
    "wrong-axis": [
        ("x = y.mean(dim=-1)", "x = y.mean(dim=0)"),
        ("x = torch.cat([a, b], 1)", "x = torch.cat([a, b], 0)"),
        ("x = y.chunk(2, 0)", "x = y.chunk(2, 1)"),
    ],
    "wrong-dtype": [
        ("x = y.to(torch.float32)", "x = y.to(torch.bfloat16)"),
        ("x = y.float()", "x = y"),
    ],
    "removed-copy": [
        ("buffer.copy_(x)", "pass"),
        ("x = out.clone()", "x = out"),
    ],
    "scaled-constant": [("x = y * 0.5", "x = y * 1.0"), ("x = y * 3", "x = y * 6")],
    "dropped-last-batch": [
        ("for i in range(0, n, bs): f(i)", "for i in range(0, (n) - (bs) + 1, bs): f(i)"),
        ("x = min(bs, n - i)", "x = bs"),
        ("x = -(-n // bs)", "x = ((n) // (bs))"),
        ("x = math.ceil(n / bs)", "x = int(n / bs)"),
    ],
    "missing-mark-step": [("htcore.mark_step()", "pass")],
    "removed-call": [("graph.replay()", "pass")],
    "device-moved-back": [
        ("x = y.to(device)", "x = y"),
        ("x = torch.randn(2, 3).to(device)", "x = torch.randn(2, 3, device=device)"),
        ("x = torch.zeros(2, device=device)", 'x = torch.zeros(2, device="cpu")'),
    ],
    "negated-condition": [
        ("x = a if b else c", "x = a if not (b) else c"),
        ("f(affine=False)", "f(affine=True)"),
    ],
}


def made_of(text: str, kind: str) -> list[str]:
    source = Source(text)
    return [source.apply(edit) for edit in edits(source) if edit.kind == kind]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [(kind, *pair) for kind, pairs in MISTAKES.items() for pair in pairs],
)
def test_a_mistake_is_made(kind: str, before: str, after: str) -> None:
    assert after in made_of(before, kind)


def test_every_kind_has_an_example() -> None:
    assert set(MISTAKES) == set(KINDS)


@pytest.mark.parametrize(
    "text",
    [
        '"""Words, 1 + 2."""',
        "from a import b",
        "def f(x: int = None) -> int: ...",
        'print("step", 1 + 1)',
        'raise ValueError("at most 3")',
        "x = y.view(2, -1, 3)",
        'x = "%d images" % n',
    ],
)
def test_what_cannot_change_a_result_is_left_alone(text: str) -> None:
    assert list(edits(Source(text))) == []


def test_an_edit_keeps_every_other_byte() -> None:
    text = "# größe\nx = f(\n    a -  # why\n    b,\n)\ny = 'ü' # end\n"

    (after,) = made_of(text, "swapped-operands")

    assert after == "# größe\nx = f(\n    (b - a),\n)\ny = 'ü' # end\n"


@pytest.mark.forms(2)
@pytest.mark.parametrize("module", [bisect, colorsys, heapq, reprlib])
def test_every_edit_of_real_code_still_parses(module: ModuleType) -> None:
    source = Source(inspect.getsource(module))
    made = list(edits(source))

    assert len(made) > 50
    for edit in made:
        ast.parse(source.apply(edit))
