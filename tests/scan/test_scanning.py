"""A scan of several files: exemptions, what cannot be read, and CUDA calls that a vendor serves."""

from __future__ import annotations

import pytest

from porter.errors import BadInput
from porter.scan.rules.registry import RULES, chosen_rules
from porter.scan.scanning import Scan, scan_files
from porter.scan.sources import CodeFile

ALL = list(RULES.values())


def scan(**files: str | bytes) -> Scan:
    given = (
        CodeFile(f"{name}.py", text.encode() if isinstance(text, str) else text)
        for name, text in files.items()
    )
    return scan_files(given, ALL)


def codes(result: Scan) -> list[tuple[int, str]]:
    return [(finding.line, finding.code) for finding in result.findings]


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("", [(2, "PT102"), (2, "PT501")]),
        ("  # porter: ignore[PT102] only on CUDA", [(2, "PT501")]),
        ("  # porter: ignore[PT1, PT501]", []),
        ("  # porter: ignore", []),
        ("  # porter: ignore[PT9]", [(2, "PT102"), (2, "PT501")]),
    ],
)
def test_a_comment_exempts_its_line(comment: str, left: list[tuple[int, str]]) -> None:
    text = f"def q_step(x):\n    return x.cuda().item(){comment}\n"

    assert codes(scan(a=text)) == left


def test_a_comment_exempts_a_file_from_some_rules() -> None:
    text = "x.cuda()\nimport flash_attn\n# porter: ignore-file[PT1] a CUDA script\n"

    assert codes(scan(a=text)) == [(2, "PT801")]


def test_an_expression_of_several_lines_is_exempt_on_its_last() -> None:
    text = "y = f(\n    x\n).cuda()  # porter: ignore[PT102]\n"

    assert codes(scan(a=text)) == []


def test_a_file_that_is_no_python_is_named_and_the_rest_is_scanned() -> None:
    result = scan(a="print 'torch'\n", b=b"# torch \xff\n", c="x.cuda()\n")

    assert [path for path, _ in result.unread] == ["a.py", "b.py"]
    assert [finding.file for finding in result.findings] == ["c.py"]
    assert result.files == 3


def test_a_migration_anywhere_serves_cuda_calls_everywhere() -> None:
    result = scan(
        a="import torch\nx.cuda()\n",
        b="if gaudi:\n    import torch\n    import habana_frameworks.torch.gpu_migration\n",
    )

    assert result.served == {"hpu": "b.py:3"}
    assert [list(finding.severity) for finding in result.findings] == [["npu"]]


def test_one_line_is_found_once_by_a_rule() -> None:
    assert codes(scan(a="x, y = x.cuda(), y.cuda()\n")) == [(1, "PT102")]


def test_lines_are_counted_in_other_encodings_and_line_ends() -> None:
    text = "# -*- coding: latin-1 -*-\r\n# \xe9\r\nx.cuda()\r\n".encode("latin-1")
    result = scan(a=text)

    assert codes(result) == [(3, "PT102")]
    assert result.findings[0].source == "x.cuda()"


def test_rules_are_chosen_by_the_beginning_of_their_codes() -> None:
    chosen = [rule.code for rule in chosen_rules(["PT10", "PT801"], ["PT102"])]

    assert chosen == ["PT101", "PT103", "PT104", "PT801"]
    with pytest.raises(BadInput, match="no rule 'PT9'"):
        chosen_rules([], ["PT9"])
