"""The scripts' ``--help``: each option of upstream's is still there."""

from __future__ import annotations

import re

from porter.verify.probe import Probe

OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def run(probe: Probe) -> None:
    """Record for each script of ``parameters`` which of upstream's options its help names.

    ``scripts`` is script -> upstream's options, separated by blanks.
    """
    for script, options in probe.parameters["scripts"].items():
        with probe.attempt(script):
            shown = set(OPTION.findall(probe.script(script, ["-h"]).stdout))
            probe.record_text(script, " ".join(word for word in options.split() if word in shown))
            probe.count(f"own/{script}", len(shown - set(options.split())))
