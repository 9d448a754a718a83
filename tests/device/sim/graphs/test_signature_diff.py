"""How the differences between two graphs are described."""

from __future__ import annotations

from porter.device.sim.graphs.signature_diff import Token, differences
from porter.interception.source_lines import Site

INPUT = ("%0", ((2, 3), (3, 1), "torch.float32"))


def described(new: list[Token], old: list[Token]) -> tuple[str, ...]:
    return differences(new, old, lambda i: Site("a.py", i), lambda i: Site("old.py", i))


def test_equal_graphs_have_no_differences() -> None:
    graph: list[Token] = [("aten.exp.default", INPUT)]
    assert described(graph, list(graph)) == ()


def test_keyword_is_named() -> None:
    new = [("aten.add.Tensor", INPUT, INPUT, ("alpha", 2))]
    old = [("aten.add.Tensor", INPUT, INPUT, ("alpha", 3))]
    assert described(new, old) == ("arg alpha of aten.add.Tensor at a.py:0: 2 was 3",)


def test_shape_of_an_input_is_named() -> None:
    other = ("%0", ((4, 3), (3, 1), "torch.float32"))
    found = described([("aten.exp.default", INPUT)], [("aten.exp.default", other)])
    assert found == ("arg 0 of aten.exp.default at a.py:0: shape (2, 3) was (4, 3)",)


def test_a_list_of_two_results_is_no_input() -> None:
    new: list[Token] = [("aten.neg.default", INPUT), ("aten.stack.default", ("%5", "%10"))]
    old: list[Token] = [("aten.neg.default", INPUT), ("aten.stack.default", ("%5", "%1"))]
    assert "aten.stack.default at a.py:1" in described(new, old)[0]


def test_floats_are_shown_long_enough_to_differ() -> None:
    new = [("aten.mul.Tensor", INPUT, ("float", 0.1))]
    old = [("aten.mul.Tensor", INPUT, ("float", 0.1 + 1e-12))]
    assert "0.1 was 0.100000000001" in described(new, old)[0]


def test_another_operand_is_named() -> None:
    new = [("aten.mul.Tensor", INPUT, "%1")]
    old = [("aten.mul.Tensor", INPUT, "%0")]
    assert described(new, old) == (
        "arg 1 of aten.mul.Tensor at a.py:0: the result %1 was the result %0",
    )


def test_ops_that_came_do_not_make_the_rest_differ() -> None:
    tail: list[Token] = [("aten.exp.default", "%1"), ("aten.sin.default", "%2")]
    shifted: list[Token] = [("aten.exp.default", "%2"), ("aten.sin.default", "%3")]
    old: list[Token] = [("aten.neg.default", INPUT), *tail]
    new: list[Token] = [("aten.neg.default", INPUT), ("aten.abs.default", "%1"), *shifted]
    assert described(new, old) == ("1 op more, first aten.abs.default at a.py:1",)


def test_ops_that_went_are_shown_where_they_were() -> None:
    old: list[Token] = [("aten.neg.default", INPUT), ("aten.abs.default", "%1")]
    assert described(old[:1], old) == ("1 op fewer, first aten.abs.default at old.py:1",)


def test_many_differences_are_counted() -> None:
    new: list[Token] = [("aten.select.int", INPUT, 0, i) for i in range(5)]
    old: list[Token] = [("aten.select.int", INPUT, 0, i + 1) for i in range(5)]
    assert described(new, old)[-1] == "and 2 more"


def test_list_argument_names_the_item() -> None:
    new = [("aten.view.default", INPUT, (1, 2, 3, 4, 5))]
    old = [("aten.view.default", INPUT, (1, 2, 9, 4, 8))]
    assert "item 2: 3 was 9 and 1 more items" in described(new, old)[0]
