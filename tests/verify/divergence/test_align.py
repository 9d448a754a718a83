"""Which activations of two runs belong together."""

from __future__ import annotations

from typing import Any

import torch

from porter.verify.divergence.timeline import Activation, align
from tests.verify.divergence.samples import sampled


def activation(number: int, path: str, kind: str = "out", **known: Any) -> Activation:
    rest = {"class_name": "Linear", "call": 0, "depth": 0, "site": "", "source": ""}
    return Activation(number, kind, path, tensors=known.pop("tensors", ()), **(rest | known))


def test_renamed_modules_are_recognised_by_class_shape_and_order() -> None:
    small, large = (sampled(torch.ones(2)),), (sampled(torch.ones(3)),)
    first = [
        activation(0, "N.a", tensors=small),
        activation(1, "N.b", tensors=large),
        activation(2, "N.c"),
    ]
    second = [
        activation(0, "N.x", tensors=small),
        activation(1, "N.new", class_name="Extra"),
        activation(2, "N.y", tensors=large),
        activation(3, "N.c"),
        activation(4, "N.c", call=1),
    ]

    found = align(first, second)

    assert found.renamed == {"N.x": "N.a", "N.y": "N.b"}
    assert found.pairs == {0: 0, 2: 1, 3: 2}
    assert found.only_second == ("N.new",)
    assert found.uneven == (("N.c", 1, 2),)
