"""Write the log of an unexpected error."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from porter import __version__
from porter.places import cache_dir


def write_crash_log(argv: Sequence[str]) -> Path:
    """Write versions, command line and traceback of the current exception; return the path."""
    text = "\n".join(
        [
            f"porter {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"command: {shlex.join(argv)}",
            "",
            traceback.format_exc(),
        ]
    )
    name = f"crash-{time.strftime('%Y%m%dT%H%M%S')}-{id(argv) & 0xFFFF:04x}.log"
    for folder in (cache_dir() / "log", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return path
        except OSError:
            continue
    print(text, file=sys.stderr)
    return Path("-")
