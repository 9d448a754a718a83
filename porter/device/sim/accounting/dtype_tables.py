"""Count ops that run in float64 or complex dtypes which the vendor does not list for them (npu).

    python -m porter.device.sim.accounting.dtype_tables ASCEND_PYTORCH.git 2.11.0

Ascend/pytorch documents each function of ``torch`` with the dtypes that its ``input`` may have
(``docs/zh/api/native_api/pytorch_*/torch.md``). A card refuses others with an error of the kernel
("DT_DOUBLE not implemented"), but not all of them: the page lists less than the kernels of the
newest release take (it has no bfloat16 for ``bmm``). So only float64 and complex dtypes are looked
at, which cards are reported to refuse, and they are counted with the list, and run.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.accounting.cpu_fallback import DATA
from porter.device.sim.contract.published import Checkout
from porter.device.sim.core.dispatch import Watch
from porter.device.sim.core.machine import Counters
from porter.device.sim.core.op_schema import OpFacts
from porter.errors import BadInput
from porter.interception.source_lines import ForwardMarks, site_of

_NAMES = {
    "bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64", "uint8": "uint8",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "bool": "bool",
    "complex64": "complex64", "complex128": "complex128",
}  # fmt: skip
"""The page's words for dtypes."""
_WIDE = frozenset({torch.float64, torch.complex64, torch.complex128})
_FUNCTION = re.compile(r"^### torch\.(\w+)\s*$", re.MULTILINE)
_INPUT = re.compile(r"`input`仅支持([^\n。]+)")  # "`input` supports only ..."
_PAGE = "docs/zh/api/native_api/pytorch_{}/torch.md"


@cache
def listed_dtypes(device: str) -> dict[str, frozenset[torch.dtype]]:
    """Return the dtypes that the vendor lists, by op packet (``aten.expm1``)."""
    path = DATA / f"{device}_dtypes.json"
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["dtypes"]
    return {op: frozenset(getattr(torch, name) for name in names) for op, names in rows.items()}


@dataclass(eq=False)
class UnlistedDtypes:
    """Observer that counts runs with an unlisted dtype of the first operand."""

    listed: dict[str, frozenset[torch.dtype]]
    counters: Counters
    forward: ForwardMarks

    def watch(self, op: OpFacts) -> Watch | None:
        dtypes = self.listed.get(op.packet.rstrip("_"), _WIDE)
        if dtypes >= _WIDE or not op.tensor_args or op.tensor_args[0].position != 0:
            return None
        allowed, counters, forward = dtypes, self.counters, self.forward
        names = ", ".join(sorted(str(each).removeprefix("torch.") for each in allowed))

        def before(args: Any, _kwargs: Any) -> None:
            dtype = getattr(args[0], "dtype", None)
            if dtype not in _WIDE or dtype in allowed:
                return
            detail = f"{str(dtype).removeprefix('torch.')}; listed: {names}"
            counters.event("unlisted_dtype", op.name, detail, site=site_of(forward.here(2)))

        return Watch(before=before)


def npu_dtypes(page: str) -> dict[str, list[str]]:
    """Return dtypes by op packet from the text of the vendor's page."""
    found: dict[str, list[str]] = {}
    parts = _FUNCTION.split(page)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        match = _INPUT.search(text)
        if match is None or not hasattr(torch.ops.aten, name):
            continue
        words = re.findall(r"\b(?:bf16|fp\d+|u?int\d+|bool|complex\d+)\b", match[1])
        if words:
            found[f"aten.{name}"] = sorted({_NAMES[word] for word in words if word in _NAMES})
    return found


def main(argv: list[str]) -> int:
    """Write ``data/npu_dtypes.json``."""
    if len(argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source = Checkout.open(Path(argv[0]), argv[1])
    page = _PAGE.format(argv[1].replace(".", "-"))
    dtypes = npu_dtypes(source.whole_text(page))
    if not dtypes:
        raise BadInput(f"{page}: expected functions with the dtypes of `input`, found none")
    table = {
        "device": "npu",
        "source": f"Ascend/pytorch, {page}",
        "version": argv[1],
        **source.identity(),
        "dtypes": dtypes,
    }
    path = DATA / "npu_dtypes.json"
    text = json.dumps({**table, "dtypes": {}}, indent=1, ensure_ascii=False)
    rows = ",\n".join(f"  {json.dumps(op)}: {json.dumps(names)}" for op, names in dtypes.items())
    path.write_text(text.replace('"dtypes": {}', f'"dtypes": {{\n{rows}\n }}') + "\n", "utf-8")
    print(f"{path}: {len(dtypes)} ops")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
