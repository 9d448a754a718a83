"""``docs/simulator-truth.md`` says what the simulator's rules rest on, and leaves none out."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path

import pytest

from porter.device.sim.core.profiles import PROFILES, Profile
from porter.device.sim.graphs import capture_limits
from porter.device.sim.rules import CONFIDENCE, RULES, Rule, page

DOCS = Path(__file__).parents[3] / "docs" / "simulator-truth.md"
_NOT_RULES = {"name", "title", "dispatch_key", "autocast_key", "autocast_dtypes", "device_count"}


def _named(name: str, device: str) -> list[Rule]:
    return [rule for rule in RULES if rule.name == name and device in rule.devices]


def test_the_page_is_made_from_the_rules() -> None:
    assert DOCS.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{rule.devices[0]}")
def test_a_rule_has_one_confidence_and_code_that_implements_it(rule: Rule) -> None:
    assert rule.confidence in CONFIDENCE
    assert set(rule.devices) <= set(PROFILES)
    parts = rule.where.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part)
        return
    raise AssertionError(f"{rule.where}: no such code")


def test_each_rule_of_a_device_stands_once() -> None:
    pairs = [(rule.name, device) for rule in RULES for device in rule.devices]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("device", sorted(PROFILES))
def test_every_limit_of_a_capture_has_its_rule(device: str) -> None:
    limits = capture_limits.LIMITS[device]
    names = [f"capture:{kind}" for kind in limits.refused]
    names += ["capture:lazy_mode_only"] if limits.lazy_mode_only else []
    names += ["capture:warms_up"] if limits.warms_up else []
    assert [name for name in names if not _named(name, device)] == []


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_every_switch_of_a_profile_has_its_rule(profile: Profile) -> None:
    dtypes = {name.rstrip("0123456789") for name in profile.unsupported_dtypes} - {"float"}
    dtypes |= {"float64"} & set(profile.unsupported_dtypes)
    names = [f"dtype:{name}" for name in sorted(dtypes)]
    for each in fields(Profile):
        value = getattr(profile, each.name)
        is_set = bool(value) and each.name not in {*_NOT_RULES, "unsupported_dtypes"}
        names += [each.name] if is_set else []
    assert [name for name in names if not _named(name, profile.name)] == []
