"""Throughput of one level over that of another, with a confidence interval.

A probe records the rates it measured (images or steps per second, one per batch, warm-up left out)
as a 1-D output. With x the rates of the judged level and y those of the other, both positive, the
ratio is exp(mean(log x) - mean(log y)), and its interval is Welch's for the difference of the logs:

    exp( d +- t * sqrt(s_x^2 / n + s_y^2 / m) ),   t of Student's distribution with
    v = (s_x^2/n + s_y^2/m)^2 / ((s_x^2/n)^2/(n-1) + (s_y^2/m)^2/(m-1)) degrees of freedom

(Welch, Biometrika 34, 1947). The claim holds when the lower end of the interval is at least
``at_least``: a ratio that is only possibly that great is not enough.
"""

from __future__ import annotations

import math

import torch

from porter.verify.judge.result import Outcome, vacuous
from porter.verify.judge.tensors import describe, nonfinite
from porter.verify.recipe.claims import Ratio
from porter.verify.recipe.schema import is_simulated

FEWEST = 5


def not_judged_on(device: str) -> str:
    """Return why times on a device are not judged; "" on a real accelerator."""
    if is_simulated(device):
        return f"not judged: {device} is simulated, and a simulation has no speed"
    if device == "cpu":
        return "not judged: a throughput is a claim on an accelerator, not on the cpu"
    return ""


def judge_ratio(kind: Ratio, found: torch.Tensor, other: torch.Tensor) -> Outcome:
    """Judge the rates of one level by those of another."""
    for rates in (found, other):
        if rates.dim() != 1 or rates.numel() < FEWEST or not rates.is_floating_point():
            return vacuous(f"expected {FEWEST} or more rates in a row, found {describe(rates)}")
        if (bad := nonfinite(rates)) or float(rates.min()) <= 0:
            return vacuous(f"expected rates above 0, found {bad or 'one that is not'}")
    low, ratio, high = ratio_interval(found, other, kind.confidence)
    detail = (
        f"{kind.confidence * 100:g} % interval {low:.3g} to {high:.3g} of {found.numel()} and "
        f"{other.numel()} batches"
    )
    return Outcome(low >= kind.at_least, "x", ratio, kind.at_least, detail, lower=True)


def ratio_interval(
    x: torch.Tensor, y: torch.Tensor, confidence: float
) -> tuple[float, float, float]:
    """Return lower end, estimate and upper end of the ratio of two rates."""
    one, other = x.double().log(), y.double().log()
    difference = float(one.mean() - other.mean())
    parts = [float(each.var()) / each.numel() for each in (one, other)]
    spread = sum(parts)
    if spread == 0:
        return (math.exp(difference),) * 3
    degrees = spread**2 / sum(
        part**2 / (each.numel() - 1) for part, each in zip(parts, (one, other), strict=True)
    )
    reach = student_quantile((1 + confidence) / 2, degrees) * math.sqrt(spread)
    return math.exp(difference - reach), math.exp(difference), math.exp(difference + reach)


def student_quantile(probability: float, degrees: float) -> float:
    """Return t with P(T <= t) = ``probability`` (above 0.5) for Student's distribution."""
    low, high = 0.0, 1.0
    while _upper_tail(high, degrees) > 1 - probability:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        if _upper_tail(middle, degrees) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _upper_tail(t: float, degrees: float) -> float:
    """P(T > t) for t >= 0: half the regularized incomplete beta I_x(v/2, 1/2), x = v / (v + t^2).

    By Simpson's rule over the angle: with t = sqrt(v) tan(u), P(T > t) is the integral of
    cos(u)^(v-1) from u to pi/2 over that from -pi/2 to pi/2.
    """
    steps = 200
    start = math.atan2(t, math.sqrt(degrees))
    width = (math.pi / 2 - start) / steps
    total = 0.0
    for i in range(steps + 1):
        weight = 1 if i in (0, steps) else 4 if i % 2 else 2
        total += weight * max(0.0, math.cos(start + i * width)) ** (degrees - 1)
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2))
    return total * width / 3 / whole
