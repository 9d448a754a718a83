"""What is drafted of short files: the edits, what stays as it is, helpers and their imports."""

from __future__ import annotations

import ast

import pytest

from porter.draft.drafting import DraftedLevel, chosen_families, draft
from porter.errors import BadInput
from porter.scan.rules.registry import RULES
from porter.scan.scanning import scan_files
from porter.scan.sources import CodeFile

ALL = chosen_families([])


def drafted(files: dict[str, str]) -> list[DraftedLevel]:
    return draft([CodeFile(path, text.encode()) for path, text in files.items()], ALL)


def after(files: dict[str, str]) -> dict[str, str]:
    """Return the files with all drafted levels."""
    done = dict(files)
    for level in drafted(files):
        done |= {path: content.decode() for path, content in level.files.items()}
    return done


def lines(text: str, head: str = "import torch\n") -> str:
    """Return the lines that a file has after drafting, without its head and the helper's import."""
    result = after({"net.py": head + text})["net.py"]
    return result.removeprefix(head).replace("import devices\n", "", 1)


CHANGED = [
    ("d = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
     "d = torch.device(devices.accelerator())"),
    ("d = torch.device('cuda') if torch.cuda.is_available() else torch.device('cpu')",
     "d = torch.device(devices.accelerator())"),
    ("d = torch.device(f'cuda:{rank}')", "d = torch.device(devices.accelerator(rank))"),
    ("d = torch.device('cuda', rank)", "d = torch.device(devices.accelerator(rank))"),
    ("d = torch.device('cuda:' + str(rank))", "d = torch.device(devices.accelerator(rank))"),
    ("d = torch.device('cuda:1')", "d = torch.device(devices.accelerator(1))"),
    ("y = x.to( 'cuda' )  # here", "y = x.to( devices.accelerator() )  # here"),
    ("if torch.cuda.is_available():\n    torch.cuda.empty_cache()",
     "if devices.accelerator() != \"cpu\":\n    devices.empty_cache()"),
    ("d = torch.device(f'cuda')", "d = torch.device(devices.accelerator())"),
    ("b = 'gloo' if not torch.cuda.is_available() else 'nccl'", "b = devices.backend()"),
    ("for i in range(n):\n    x = model(x) * s[i]\n    devices.mark_step()\ns = torch.ones(3)",
     "for i in range(n):\n    x = model(x) * devices.at(s, i)\n    devices.mark_step()\n"
     "s = torch.ones(3)"),
    ("for i in range(n):\n    t = torch.full((b,), i, device=d)\n    x = model(x, t)\n"
     "    mark_step()",
     "for i in range(n):\n    t = torch.full((b,), i).to(d)\n    x = model(x, t)\n    mark_step()"),
    ("o = torch.optim.Adam(p, lr=1)",
     "o = torch.optim.Adam(p, lr=1, capturable=devices.capturable())"),
    ("assert torch.cuda.is_available(), 'no'", "assert devices.accelerator() != \"cpu\", 'no'"),
    ("y = x.cuda()", "y = x.to(devices.accelerator())"),
    ("y = (x\n     .cuda(rank, non_blocking=True))",
     "y = (x\n     .to(devices.accelerator(rank), non_blocking=True))"),
    ("device = torch.device('cpu')\ny = x.cuda()",
     "device = torch.device('cpu')\ny = x.to(device)"),
    ("with torch.cuda.amp.autocast():\n    pass", "with devices.autocast():\n    pass"),
    ("with torch.autocast('cuda', dtype=torch.bfloat16):\n    pass",
     "with devices.autocast(dtype=torch.bfloat16):\n    pass"),
    ("torch.distributed.init_process_group('nccl')",
     "torch.distributed.init_process_group(devices.backend())"),
    ("torch.cuda.set_device(rank)", "devices.set_device(rank)"),
    ("n = torch.nn.parallel.DistributedDataParallel(n, device_ids=[rank])",
     "n = torch.nn.parallel.DistributedDataParallel(n, device_ids=devices.device_ids([rank]))"),
    ("s = torch.load(path)", "s = torch.load(path, map_location=\"cpu\")"),
    ("if str(d).startswith('mps'):\n    t = t.to(dtype=torch.float32)",
     "if str(d).startswith(('mps', 'hpu')):\n    t = t.to(dtype=torch.float32)"),
    ("m = s.device.type == 'mps'\nt = torch.float32 if m else torch.float64",
     "m = s.device.type == 'mps'\n"
     "t = torch.float32 if m or s.device.type == 'hpu' else torch.float64"),
    ("for b in loader:\n    loss.backward()\n    optimizer.step()  # now\n",
     "for b in loader:\n    loss.backward()\n    devices.mark_step()\n"
     "    optimizer.step()  # now\n    devices.mark_step()\n"),
    ("for t in ts:\n    x = model(x, t)\n    if x:\n        y = x\nz = 1",
     "for t in ts:\n    x = model(x, t)\n    if x:\n        y = x\n    devices.mark_step()\nz = 1"),
    ("x = torch.randn(2, 3, device=d, dtype=h)", "x = torch.randn(2, 3, dtype=h).to(d)"),
    ("x += torch.randn_like(x) * s", "x += torch.randn(x.shape, dtype=x.dtype).to(x.device) * s"),
    ("n = torch.utils.data.DataLoader(d, 4,\n    shuffle=True,  # so\n)",
     "n = torch.utils.data.DataLoader(d, 4,\n    shuffle=True, pin_memory=True,  # so\n)"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "expected"), CHANGED)
def test_what_is_changed(before: str, expected: str) -> None:
    assert lines(before) == expected


KEPT = [
    "if device.type == 'cuda':\n    x = x.cuda()",
    "if torch.cuda.is_available():\n    n = torch.cuda.get_device_name()",
    "x = torch.randn(2, generator=g, device=d)",
    "x = torch.randn_like(f(x))",
    "x = torch.normal(m, s, device=d)",
    "print(f'{x.cuda()}')",
    "scaler = torch.cuda.amp.GradScaler()",
    "if x.is_cuda:\n    pass",
    "p = torch.cuda.get_device_properties(torch.device('cuda'))",
    "d = torch.load('data/images.pt')",
    "o = torch.optim.Adam(p, fused=True)",
    "if x.device.type == 'cpu':\n    n = torch.randn_like(x)",
    "for t in ts: x = model(x, t)",
    "for t in ts:\n    x = model(x, t)\n    return x",
    "s = torch.load(path, **options)",
    "import flash_attn\nflash_attn.run()",
    "y = x.cuda()  # porter: ignore[PT102]",
]


@pytest.mark.parametrize("text", KEPT)
def test_what_stays_as_it_is(text: str) -> None:
    head = "import torch\ndef f(x):\n" if "return" in text else "import torch\n"
    body = text.replace("\n", "\n    ") if "return" in text else text
    files = {"net.py": head + ("    " if "return" in text else "") + body}

    assert after(files) == files


@pytest.mark.parametrize("code", RULES)
def test_a_draft_of_a_draft_changes_nothing_and_parses(code: str) -> None:
    once = after({"net.py": RULES[code].before, "pkg/__init__.py": ""})

    assert after(once) == once
    for text in once.values():
        ast.parse(text)
    assert after({"net.py": RULES[code].before, "pkg/__init__.py": ""}) == once


@pytest.mark.parametrize("code", RULES)
def test_a_mended_example_is_left_alone(code: str) -> None:
    own = {"net.py": RULES[code].after}
    levels = drafted(own)

    assert code not in {found for level in levels for found in level.codes}


def test_a_level_says_what_it_mended_and_what_it_left() -> None:
    text = "import torch\nx = x.cuda()\ny = torch.cuda.get_device_name()\nt = torch.load(p)\n"
    (level,) = drafted({"net.py": text})

    assert (level.family.name, level.codes) == ("minimal", ["PT102", "PT703"])
    assert [(each.code, each.line) for each in level.left] == [("PT103", 3)]


def test_what_a_level_mended_is_found_no_more() -> None:
    text = "import torch\nx = x.cuda()\nx = torch.randn(3, device=x.device)\n"
    done = after({"net.py": text})
    files = [CodeFile(path, content.encode()) for path, content in done.items()]

    assert scan_files(files, list(RULES.values())).findings == []


def test_other_bytes_stay_with_carriage_returns_tabs_and_no_last_line_end() -> None:
    text = "import torch\r\n\r\nif True :\r\n\ty=[ 1,2 ] ;z = x.cuda()\t# é"
    done = after({"net.py": text})["net.py"]

    assert done == text.replace("import torch\r\n", "import torch\r\nimport devices\r\n").replace(
        ".cuda()", ".to(devices.accelerator())"
    )


def test_another_encoding_is_left_alone() -> None:
    file = CodeFile("net.py", "# -*- coding: latin-1 -*-\n# é\nx.cuda()\n".encode("latin-1"))

    assert draft([file], ALL) == []


def test_groups_known_only_later_are_chosen_by_a_function() -> None:
    text = "from torch import nn\na = nn.GroupNorm(1, c)\nb = nn.GroupNorm(g // 4 if g else 1, c)\n"
    done = after({"net.py": text})

    assert done["net.py"] == (
        "from torch import nn\nfrom layer_norm import LayerNormCHW, group_norm\n"
        "a = LayerNormCHW(c)\nb = group_norm(g // 4 if g else 1, c)\n"
    )
    assert "def group_norm" in done["layer_norm.py"]


def test_a_helper_holds_only_what_is_used() -> None:
    done = after({"net.py": "import torch\nx = x.cuda()\n"})["devices.py"]

    assert "def accelerator" in done
    assert "def autocast" not in done


IMPORTS = [
    ({"pkg/__init__.py": "", "pkg/a.py": "from . import b\nx.cuda()"},
     "pkg/a.py", "from . import devices"),
    ({"pkg/__init__.py": "", "pkg/a.py": "import torch\nx.cuda()"},
     "pkg/a.py", "from . import devices"),
    ({"a.py": "from pkg import b\nx.cuda()", "pkg/b.py": "x.cuda()"},
     "a.py", "from pkg import devices"),
    ({"src/pkg/__init__.py": "from .a import b", "src/pkg/c.py": "x.cuda()",
      "src/pkg/s/__init__.py": "", "src/pkg/s/a.py": "from ..b import c\nx.cuda()"},
     "src/pkg/s/a.py", "from .. import devices"),
    ({"run/a.py": "import b\nx.cuda()", "run/b.py": ""}, "run/a.py", "import devices"),
    ({"devices.py": "", "a.py": "x.cuda()"}, "a.py", "import port_devices as devices"),
    ({"a.py": "import torch\ndevices = 3\nx.cuda()"}, "a.py", "import devices as port_devices"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "path", "line"), IMPORTS)
def test_a_file_imports_the_helper_as_its_neighbours(
    files: dict[str, str], path: str, line: str
) -> None:
    done = after(files)

    assert line in done[path].split("\n")


def test_a_file_that_tries_two_ways_tries_both() -> None:
    text = "try:\n    import b\nexcept ModuleNotFoundError:\n    from . import b\nx.cuda()\n"
    done = after({"pkg/__init__.py": "", "pkg/b.py": "", "pkg/a.py": text})["pkg/a.py"]

    assert (
        "try:\n    import devices\nexcept ModuleNotFoundError:\n    from . import devices\n" in done
    )


def test_a_script_in_a_package_may_be_run_and_imported() -> None:
    text = "x.cuda()\nif __name__ == '__main__':\n    pass\n"
    done = after({"pkg/__init__.py": "from pkg.a import x", "pkg/a.py": text})["pkg/a.py"]

    assert "    import devices\nexcept ModuleNotFoundError:\n    from . import devices\n" in done


def test_a_package_with_a_module_of_its_name_is_imported_from() -> None:
    text = "import torch\nfrom pkg.b import c\nx.cuda()\n"
    files = {"pkg/__init__.py": "", "pkg/pkg.py": text, "pkg/b.py": "x.cuda()\n"}

    assert "from pkg import devices" in after(files)["pkg/pkg.py"]


def test_a_later_level_extends_the_helper_of_an_earlier_one() -> None:
    text = "import torch\nx = x.cuda()\no = torch.optim.AdamW(p)\n"
    first, second = drafted({"net.py": text})
    done = second.files["devices.py"].decode()

    assert "def accelerator" in first.files["devices.py"].decode()
    assert "def capturable" not in first.files["devices.py"].decode()
    assert "def accelerator" in done
    assert "def capturable" in done
    assert second.files["net.py"].decode().count("import devices") == 1
    own = first.files["devices.py"].decode() + "\n\nOWN = 1\n"
    files = {"net.py": first.files["net.py"].decode(), "devices.py": own}
    assert after(files)["devices.py"].startswith(own.rstrip())
    assert "def capturable" in after(files)["devices.py"]


def test_loops_that_a_function_of_another_file_marks_are_left() -> None:
    loop = "import torch\nfor t in ts:\n    x = net.apply_model(x, t)\n"
    steps = "def apply_model(x, t):\n    mark_step()\n    return x\n"

    assert after({"net.py": loop, "steps.py": steps})["net.py"] == loop
    assert after({"net.py": loop, "steps.py": steps.replace("mark_step()", "pass")})["net.py"] != (
        loop
    )


@pytest.mark.parametrize("path", ["tests/a.py", "pkg/testing/a.py", "test_a.py"])
def test_the_upstreams_own_tests_are_left(path: str) -> None:
    files = {path: "import torch\nx = x.cuda()\n"}

    assert after(files) == files


def test_the_import_follows_the_docstring_and_the_future() -> None:
    text = '"""A net."""\nfrom __future__ import annotations\n\nx.cuda()\n'

    assert after({"net.py": text})["net.py"].startswith(
        '"""A net."""\nfrom __future__ import annotations\nimport devices\n\n'
    )
    assert after({"net.py": '"""A net."""\nx.cuda()\n'})["net.py"].startswith(
        '"""A net."""\nimport devices\n'
    )


def test_families_are_chosen_by_name() -> None:
    assert [each.name for each in chosen_families(["data-loading"])] == ["data-loading"]
    with pytest.raises(BadInput, match="found 'x'"):
        chosen_families(["x"])
