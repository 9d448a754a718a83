"""GitHub annotations: workflow commands on standard output.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Sequence

from porter.finding import Finding


def as_github(findings: Sequence[Finding], prefix: str = "") -> str:
    """Return one workflow command per line; ``prefix`` goes before every path.

    GitHub shows at most 10 errors and 10 notices per step, so errors come first.
    """
    ordered = sorted(findings, key=lambda finding: finding.severity != "error")
    return "\n".join(
        f"::{'error' if f.severity == 'error' else 'notice'} "
        f"file={_property(prefix + f.file)},line={max(f.line, 1)}"
        f",title={_property('porter ' + f.rule)}::{_escape(f.text)}"
        for f in ordered
    )


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
