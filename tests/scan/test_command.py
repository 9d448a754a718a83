"""``porter scan`` and ``porter explain``: what is scanned, what is printed, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.cli import main
from tests.small_port import SmallPort

CODE = "import torch\n\ndef move(x):\n    return x.cuda()\n"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of code outside any project, and the working directory."""
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "net.py").write_text(CODE)
    (folder / "fine.py").write_text("import torch\n")
    for hidden in (".git", "__pycache__", "env"):
        (folder / hidden).mkdir()
        (folder / hidden / "net.py").write_text(CODE)
    (folder / "env" / "pyvenv.cfg").touch()
    monkeypatch.chdir(folder)
    return folder


def scan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["scan", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_folder_is_scanned_without_a_project(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = scan(capsys, ".")

    assert status == 1
    assert "PT102 cuda-method" in out
    assert "  pkg/net.py:4: error, sure\n      return x.cuda()\n" in out
    assert out.endswith(": 2 files: 1 error (1 sure)\n")
    assert scan(capsys)[1] == out


def test_nothing_found_is_no_failure(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(capsys, "fine.py") == (0, "fine.py: 1 file, nothing found\n", "")


def test_json_says_everything_about_a_finding(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = scan(capsys, ".", "--json", "--device", "sim:npu")

    (finding,) = json.loads(out)["findings"]
    assert (finding["file"], finding["line"], finding["code"]) == ("pkg/net.py", 4, "PT102")
    assert (finding["source"], finding["sure"]) == ("return x.cuda()", "sure")
    assert list(finding["devices"]) == ["npu"]
    assert finding["devices"]["npu"]["why"]
    assert finding["devices"]["npu"]["source"]
    assert finding["mend"]


def test_sarif_has_titles_levels_and_places(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code / "pkg" / "net.py").write_text(CODE + "    torch.cuda.empty_cache()\n")
    scan(capsys, ".", "--output", "scan.sarif")

    (run,) = json.loads((code / "scan.sarif").read_text())["runs"]
    rules = {
        rule["id"]: rule["shortDescription"]["text"] for rule in run["tool"]["driver"]["rules"]
    }
    assert rules["PT102"] == "A tensor or module is moved by .cuda()"
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [
        ("PT102", "error"),
        ("PT103", "note"),
    ]
    where = run["results"][0]["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == "pkg/net.py"
    assert where["region"]["startLine"] == 4


def test_rules_and_devices_are_chosen(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(capsys, ".", "--select", "PT2,PT3")[0] == 0
    assert scan(capsys, ".", "--ignore", "pt102")[0] == 0
    assert scan(capsys, ".", "--device", "cuda")[2] == (
        "porter: --device: expected hpu or npu, found 'cuda'\n"
    )
    assert "no rule 'X'" in scan(capsys, ".", "--select", "x")[2]


@pytest.mark.parametrize("name", ["nowhere", "./nowhere"])
def test_what_is_not_there_is_refused_in_a_line(
    code: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, _, err = scan(capsys, name)

    assert status == 2
    assert err == f"porter: {name}: expected a port, or a folder or file of code, found neither\n"


def test_a_folder_has_no_levels(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(capsys, "pkg", "--level", "1")[0] == 2


def test_a_level_of_a_port_is_scanned(
    port: SmallPort, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (port.root / "patches" / "small").mkdir(parents=True, exist_ok=True)
    port.add_patch("cuda", {"net.py": CODE})
    port.add_patch("device", {"net.py": CODE.replace("cuda()", "to(device)")})

    assert scan(capsys, "small")[1] == "small, level 2: device: 4 files, nothing found\n"
    status, out, _ = scan(capsys, "small", "--level", "cuda")
    assert status == 1
    assert "  net.py:4: error, sure\n" in out
    assert "level 0: upstream: 3 files, nothing found" in scan(capsys, "small", "--level", "0")[1]


def test_a_tree_is_scanned_as_it_is_edited(
    port: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port.add_patch("cuda", {"net.py": CODE})
    assert main(["apply", "small", str(tmp_path / "work")]) == 0
    capsys.readouterr()
    assert scan(capsys, "-C", str(tmp_path / "work"))[0] == 1
    (tmp_path / "work" / "net.py").write_text("import torch\n")

    assert scan(capsys, "-C", str(tmp_path / "work"))[0] == 0
    assert scan(capsys, "-C", str(tmp_path / "work"), "--level", "1")[0] == 1


def test_explain_lists_rules_and_prints_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert "PT513" in capsys.readouterr().out
    assert main(["explain", "mark-step"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("PT513 mark-step: ")
    assert "learnt in: patches/v-diffusion/0001-minimal.patch" in page
    assert main(["explain", "PT9"]) == 0
    assert "PT902 cpu-fallback" in capsys.readouterr().out
    assert main(["explain", "PX9"]) == 2
    assert capsys.readouterr().err == "porter: no rule 'PX9'; `porter explain` lists them\n"
