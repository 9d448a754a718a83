"""Describe an output in words: shape and dtype, why it proves nothing, where two differ."""

from __future__ import annotations

from itertools import zip_longest

import torch

_MOST_NAMES = 6


def describe(tensor: torch.Tensor) -> str:
    """Return shape and dtype in the usual short form, as ``float32[2, 3]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def dead_output(reference: torch.Tensor) -> str:
    """Say why an output proves nothing (empty, all zero, constant); "" when it is alive."""
    if reference.numel() == 0:
        return "is empty: it proves nothing"
    first = reference.reshape(-1)[0]
    if not bool((reference == first).all()):
        return ""
    if float(first) == 0:
        return "is all zero: it proves nothing (zero-initialised weights? see probe.alive)"
    if reference.numel() > 1:
        return f"is constant ({float(first):g}): it proves nothing"
    return ""


def nonfinite(x: torch.Tensor) -> str:
    """Count infinities and NaNs in words; "" when there are none."""
    if not x.is_floating_point():
        return ""
    counts = [(int(torch.isinf(x).sum()), "inf"), (int(torch.isnan(x).sum()), "NaN")]
    words = [f"{number} {name}" for number, name in counts if number]
    return f"{' and '.join(words)} of {x.numel()}" if words else ""


def worst_difference(found: torch.Tensor, exact: torch.Tensor) -> str:
    """Say where the greatest difference is, and the two values there."""
    return difference_at(int((found.double() - exact).abs().argmax()), found, exact)


def difference_at(flat: int, found: torch.Tensor, exact: torch.Tensor) -> str:
    """Say where the element number ``flat`` is, and the two values there."""
    index = list(torch.unravel_index(torch.tensor(flat), found.shape)) if found.dim() else []
    where = f" at [{', '.join(str(int(i)) for i in index)}]" if index else ""
    value, expected = float(found.reshape(-1)[flat]), float(exact.reshape(-1)[flat])
    return f"greatest difference{where}: expected {expected:.6g}, found {value:.6g}"


def constants(exact: torch.Tensor) -> list[tuple[torch.Tensor, str]]:
    """Return the constant tensors that no claim may let pass, with their names."""
    zeros = (torch.zeros_like(exact), "a tensor of zeros")
    if exact.numel() == 1:
        return [zeros]
    return [zeros, (torch.full_like(exact, float(exact.mean())), "a constant (the mean)")]


def text_of(tensor: torch.Tensor) -> str:
    """Return the text that was recorded as its UTF-8 bytes."""
    return bytes(tensor.tolist()).decode("utf-8", "replace")


def text_difference(found: str, expected: str, *, files: bool) -> str:
    """Say how two texts differ: the first line that does, or of lists of files the names."""
    if files:
        there, wanted = found.splitlines(), expected.splitlines()
        missing, new = (sorted(set(a) - set(b)) for a, b in ((wanted, there), (there, wanted)))
        parts = [f"missing {_few(missing)}"] * bool(missing) + [f"new {_few(new)}"] * bool(new)
        return f"the files differ: {'; '.join(parts)}" if parts else ""
    lines = zip_longest(expected.splitlines(), found.splitlines())
    for number, (wanted_line, line) in enumerate(lines, 1):
        if wanted_line != line:
            return f"line {number}: expected {_line(wanted_line)}, found {_line(line)}"
    return "the line ends differ" if found != expected else ""


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _line(text: str | None) -> str:
    if text is None:
        return "the end"
    return repr(text if len(text) <= 80 else text[:77] + "...")
