"""The scripts' command lines: what each of upstream's options is when it is not given."""

from __future__ import annotations

import importlib
import sys

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record for each command of ``parameters`` the default of upstream's options, a line each.

    ``commands`` is module -> name of the command; ``options`` module -> upstream's options,
    separated by blanks. An option that has gone is left out.
    """
    sys.path[:0] = [str(probe.tree), str(probe.tree / "src")]
    for module, name in probe.parameters["commands"].items():
        with probe.attempt(name):
            command = getattr(importlib.import_module(module), name)
            here = {option.opts[0]: option for option in command.params}
            lines = []
            for word in probe.parameters["options"][module].split():
                if option := here.get(word):
                    what = "required" if option.required else f"{option.default!r} by default"
                    lines.append(f"{word}: {what}")
            probe.record_text(name, "\n".join(lines))
