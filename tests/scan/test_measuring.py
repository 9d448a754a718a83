"""`porter scan DIR -- COMMAND`: what a run counted stands at the lines that rules found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.cli import main
from porter.errors import BadInput
from porter.scan.measuring.joining import joined
from porter.scan.measuring.running import Measured, measure_command, split_command
from porter.scan.reading.rule import ScanFinding

CODE = """\
import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
sigmas = torch.linspace(1, 0, 3, device=device)
x = torch.ones(2, device=device)
model = torch.tanh
for i in range(3):
    x = x - model(x) * sigmas[i]
    print(x.sum().item())
open("made.txt", "w").close()
"""


def finding(line: int, code: str, last: int = 0) -> ScanFinding:
    return ScanFinding(
        "a.py", line, 1, code, "rule", "source", "what", "sure", {"hpu": "warning"}, last
    )


def test_a_count_stands_with_the_rule_that_it_confirms() -> None:
    found = joined(
        [finding(3, "PT501"), finding(5, "PT511", 6), finding(8, "PT101")],
        [
            Measured("hpu", "host_sync", "a.py", 3, "", "item", 4),
            Measured("hpu", "compilation", "a.py", 6, "", "2 was 1", 2),
            Measured("npu", "host_sync", "a.py", 3, "s", "item"),
            Measured("hpu", "cpu_fallback", "a.py", 8, "s", "aten.x", 2),
        ],
    )

    assert [(f.line, f.code, f.measured) for f in found] == [
        (3, "PT501", ("hpu: 4 host waits (item)",)),
        (3, "PT903", ("npu: 1 host wait (item)",)),
        (5, "PT511", ("hpu: 2 compilations (2 was 1)",)),
        (8, "PT101", ()),
        (8, "PT902", ("hpu: 2 CPU fallbacks (aten.x)",)),
    ]
    assert found[-1].sure == "measured"
    assert found[-1].severity == {"hpu": "warning"}


def test_a_command_is_python_with_variables_before_it() -> None:
    assert split_command(["A=1", "python3.11", "a.py", "-x"]) == ({"A": "1"}, ["a.py", "-x"])
    assert split_command(["-m", "pkg"]) == ({}, ["-m", "pkg"])
    for words in ([], ["python"], ["make"]):
        with pytest.raises(BadInput, match="-- COMMAND"):
            split_command(words)


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a\.py: no such script"):
        measure_command(tmp_path, ["a.py"], ["hpu"], migrate=True)


def test_what_a_run_counts_is_joined_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)

    main(["scan", ".", "--device", "hpu", "--json", "--", "python", "a.py"])
    data = json.loads(capsys.readouterr().out)

    assert data["command"] == "a.py"
    assert data["runs"]["hpu"]["ended"] == ""
    said = {(each["line"], each["code"]): each.get("measured") for each in data["findings"]}
    assert said[9, "PT501"] == ["hpu: 3 host waits (aten._local_scalar_dense.default)"]
    assert said[8, "PT511"] == ["hpu: 2 compilations (arg 2 of aten.select.int: 2 was 1)"]
    assert said[3, "PT101"][0].startswith("hpu: 1 CUDA call (torch.cuda.is_available() by ")
    assert not (tmp_path / "made.txt").exists()


@pytest.mark.slow
def test_a_command_that_stops_is_found_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("import torch\n\nraise SystemError('no kernel')\n")
    monkeypatch.chdir(tmp_path)

    assert main(["scan", ".", "--output", "a.sarif", "--", "python", "a.py"]) == 1
    out = capsys.readouterr().out
    assert "PT901 stopped: The command stopped on the device" in out
    assert "a.py:3: error, measured" in out
    (run,) = json.loads((tmp_path / "a.sarif").read_text())["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("PT901", "error")
    assert "measured on hpu: 1 stop (SystemError: no kernel)" in result["message"]["text"]
