"""Check that verdicts do not depend on the processor: run recipes under other processors' kernels.

``python bench/processors.py`` runs ``porter verify`` once for each setting of a matrix and prints a
table with a line per setting: how many recipes passed, which did not, and how near the tightest
claims came to their limits. The settings are

- ATen's vector extensions (``ATEN_CPU_CAPABILITY``): default (none), avx2, avx512
- oneDNN's (``ONEDNN_MAX_CPU_ISA``): SSE41, AVX2, AVX512_CORE, and unset (``own``)
- one thread a run, and two

Without ``--all`` the pairs are those of real processors (default with SSE41, avx2 with AVX2, avx512
with AVX512_CORE) and the machine's own; with it every combination. Settings that this processor
cannot run are named and left out. Porter's keys separate the traces of the settings, so a second
run makes only what changed. Ports and options of ``porter verify`` follow ``--``::

    python bench/processors.py -- --tag quick
    python bench/processors.py --setting default/SSE41/1 -- v-diffusion
    python bench/processors.py --all --output processors.json

Exit code 1 when a recipe fails under any setting.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OWN = "own"
ATEN = ("default", "avx2", "avx512")
ONEDNN = ("SSE41", "AVX2", "AVX512_CORE", OWN)
PAIRS = (("default", "SSE41"), ("avx2", "AVX2"), ("avx512", "AVX512_CORE"), (OWN, OWN))
THREADS = (1, 2)
FLAGS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
"""Processor features that ATen needs; it does not check them, and would crash without."""

_TIGHTEST = 10


@dataclass(frozen=True)
class Setting:
    """A processor to imitate, and the number of threads of every run."""

    aten: str
    onednn: str
    threads: int

    def __str__(self) -> str:
        return f"{self.aten}/{self.onednn}/{self.threads}"

    def variables(self) -> dict[str, str]:
        """Return the environment of ``porter verify``: the user's, with the setting's kernels."""
        names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        chosen = zip(names, (self.aten, self.onednn), strict=True)
        return kept | {name: value for name, value in chosen if value != OWN}


@dataclass(frozen=True)
class Tight:
    """A claim near its limit; ``share`` is the used part of its allowance."""

    where: str
    claim: str
    share: float
    noise: float | None
    error: float
    allowed: float


@dataclass(frozen=True)
class Came:
    """The results of verification under one setting."""

    setting: str
    passed: int
    failed: tuple[str, ...]
    not_reachable: int
    seconds: float
    tightest: tuple[Tight, ...]


def main() -> int:
    """Run the matrix; 0 when every recipe passed under every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Form)
    parser.add_argument("--all", action="store_true", help="every combination, not usual pairs")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="ATEN/ONEDNN/THREADS", help="only this"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write FILE, as JSON")
    parser.add_argument("options", nargs="*", help="ports and options of porter verify")
    args = parser.parse_args()
    wanted = list(settings(args.all))
    if unknown := set(args.setting) - {str(setting) for setting in settings(True)}:
        there = ", ".join(str(setting) for setting in settings(True))
        parser.error(f"--setting {sorted(unknown)[0]}: expected one of {there}")
    if args.setting:
        wanted = [setting for setting in settings(True) if str(setting) in args.setting]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores", flush=True)
    done = []
    for setting in wanted:
        if lack := lacking(setting):
            print(f"{setting}: left out, this processor has no {', '.join(lack)}", flush=True)
            continue
        done.append(verify(setting, args.options))
        print(line(done[-1]), flush=True)
    for came in done:
        for name in came.failed:
            print(f"  {came.setting}: {name} failed")
    for tight in sorted((t for c in done for t in c.tightest), key=lambda t: -t.share)[:_TIGHTEST]:
        noise = "not measured" if tight.noise is None else f"{tight.noise:.3g}"
        print(
            f"  {tight.share:.0%} of what is allowed: {tight.where}, {tight.claim}: "
            f"{tight.error:.3g} of {tight.allowed:.3g}, noise {noise}"
        )
    if args.output:
        args.output.write_text(json.dumps([asdict(came) for came in done], indent=1) + "\n")
    return 1 if any(came.failed for came in done) else 0


class _Form(argparse.RawDescriptionHelpFormatter):
    pass


def settings(every: bool) -> Iterator[Setting]:
    """Yield the settings: the usual pairs, or ``every`` combination."""
    pairs = itertools.product((*ATEN, OWN), ONEDNN) if every else PAIRS
    for (aten, onednn), threads in itertools.product(pairs, THREADS):
        yield Setting(aten, onednn, threads)


def lacking(setting: Setting) -> list[str]:
    """Return the processor features that a setting needs and this machine lacks."""
    needed = FLAGS.get(setting.aten, set())
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return sorted(needed)
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return sorted(needed - set(next(lines, "").split()))


def verify(setting: Setting, options: Sequence[str]) -> Came:
    """Run ``porter verify`` under a setting; its progress goes to stderr."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "porter", "verify", "--threads", str(setting.threads)]
        done = subprocess.run(
            [*command, "--output", str(result), *options],
            env=setting.variables(),
            stdout=subprocess.PIPE,
            text=True,
        )
        if not result.is_file():
            raise SystemExit(f"{setting}: porter verify ended with {done.returncode}")
        told = json.loads(result.read_text())
    recipes = told["recipes"]
    return Came(
        setting=str(setting),
        passed=sum(recipe["passed"] for recipe in recipes),
        failed=tuple(f"{r['port']}/{r['recipe']}" for r in recipes if not r["passed"]),
        not_reachable=len(told["not_reachable"]),
        seconds=time.monotonic() - began,
        tightest=tuple(sorted(tight_claims(recipes), key=lambda t: -t.share)[:_TIGHTEST]),
    )


def tight_claims(recipes: Sequence[dict[str, Any]]) -> Iterator[Tight]:
    """Yield for each output the claim that used the most of its tolerance."""
    worst: dict[tuple[str, str], Tight] = {}
    for recipe in recipes:
        for row in recipe["verdicts"]:
            error, allowed = row["error"], row["allowed"]
            if row["verdict"] not in ("pass", "fail") or not isinstance(error, int | float):
                continue
            if row["bound"] != "most" or not isinstance(allowed, int | float) or not allowed:
                continue
            where = f"{recipe['port']}/{recipe['recipe']} level {row['level']} {row['device']}"
            noise = row["noise"] if isinstance(row["noise"], int | float) else None
            name = f"{where} {row['output']}"
            found = Tight(name, row["claim"], error / allowed, noise, error, allowed)
            key = (f"{recipe['port']}/{recipe['recipe']}", row["output"])
            if row["subject"] == "outputs" and (key not in worst or worst[key].share < found.share):
                worst[key] = found
    yield from worst.values()


def line(came: Came) -> str:
    """Return a setting's line of the table."""
    failed = f", {len(came.failed)} failed" if came.failed else ""
    beyond = f", {came.not_reachable} not reachable" if came.not_reachable else ""
    return f"{came.setting:<24} {came.passed} passed{failed}{beyond} in {came.seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
