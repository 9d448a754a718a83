"""Patch headers: read as git am reads them, and problems come with their line."""

from __future__ import annotations

import pytest

from porter.series.header import parse_header

GOOD = """From: Ada Porter <ada@example.org>
Date: Thu, 7 Dec 2023 12:00:00 +0100
Subject: [PATCH] Replace GroupNorm(1, C) by
 LayerNorm

One kernel instead of three.

Level: groupnorm-to-layernorm
Devices: hpu, npu
Keeps: sampling parity
 (recipes/v-diffusion/sampling.yaml)
Gains: fewer kernels
Origin: a published port
Forwarded: not-needed
---
diff --git a/x b/x
"""


def problems(text: str) -> list[str]:
    return [f"{p.line}: {p.text}" for p in parse_header(text.encode())[1]]


def test_every_field_is_read() -> None:
    header, wrong = parse_header(GOOD.encode())
    assert wrong == []
    assert header.author.encode() == b"Ada Porter <ada@example.org> 1701946800 +0100"
    assert header.subject == "Replace GroupNorm(1, C) by LayerNorm"
    assert header.devices == ("hpu", "npu")
    assert header.keeps == "sampling parity (recipes/v-diffusion/sampling.yaml)"
    assert header.message.startswith("Replace GroupNorm(1, C) by LayerNorm\n\nOne kernel")
    assert header.message.endswith("Forwarded: not-needed\n")
    assert header.lines["Level"] == 8
    assert header.end == 15


def test_rfc_2047_words_are_decoded() -> None:
    text = GOOD.replace("Ada Porter", "=?UTF-8?q?Ad=C3=A9la?=").replace(
        "by\n LayerNorm", "=?UTF-8?B?w7w=?=\n =?UTF-8?q?=C3=A4?="
    )
    header, wrong = parse_header(text.encode())
    assert wrong == []
    assert header.author.name == "Adéla"
    assert header.subject == "Replace GroupNorm(1, C) üä"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Level: groupnorm-to-layernorm\n", "", "0: no `Level:` line"),
        ("From: Ada Porter <ada@example.org>\n", "", "0: no `From:` line"),
        (
            "Keeps: sampling parity\n (recipes/v-diffusion/sampling.yaml)",
            "Keeps:",
            "10: Keeps: exp",
        ),
        ("<ada@example.org>", "ada@example.org", "1: From: expected `Name <email>`"),
        ("Thu, 7 Dec 2023", "7.12.2023", "2: Date: expected a date such as"),
        ("hpu, npu", "hpu, tpu", "9: Devices: expected cpu, cuda, hpu, npu; found 'tpu'"),
        ("Level: groupnorm-to-layernorm", "Level: Group Norm", "8: Level: expected a name"),
        ("Level: groupnorm-to-layernorm", "Level: 12", "8: Level: expected a name"),
        ("Level: groupnorm-to-layernorm", "Level: upstream", "8: Level: expected a name"),
        ("Gains: fewer kernels\n", "Gains: a\nGains: b\n", "13: Gains: repeated"),
        ("One kernel instead of three.\n\n", "", "6: the message gives no reason"),
        ("One kernel", "From: somebody else\n\nOne kernel", "6: the message begins with 'From:'"),
        ("\n---\n", "\n", "0: no `---` line"),
        ("One kernel", "One\r kernel", "6: a carriage return"),
    ],
)
def test_a_fault_is_reported_with_its_line(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new))
    assert any(text.startswith(problem) for text in found), found


def test_bytes_that_are_no_utf_8_are_reported() -> None:
    _, wrong = parse_header(GOOD.encode().replace(b"kernel instead", b"k\xff"))
    assert [(p.line, p.blocks) for p in wrong] == [(6, True)]
