"""Shorten git's and pip's messages about a failed source to a few words that name its host.

git and pip print long lines that repeat the URL. People see the short reason, once; the full text
is kept beside it (``porter --verbose``, JSON).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from porter.errors import SourceUnavailable
from porter.upstream.pins import GitSource, Sdist

OFFLINE = "porter is offline"
INDEX = "pip's index"
_LONGEST = 100
_HOSTS = (
    r"resolve (?:host|proxy): ([\w.-]+)",
    r"[Ff]ailed to connect to ([\w.-]+)",
    r"resolve hostname ([\w.-]+)",
    r"connect to (?:host )?([\w.-]+) port",
    r"look up ([\w.-]+)",
    r"host='([^']+)'",
    r"(?:https?|ssh|git)://(?:[^/@\s']*@)?([\w.-]+)",
    r"^([\w.-]+@[\w.-]+): Permission denied",
)
_KINDS: tuple[tuple[str, str], ...] = (
    (r"^porter is offline", OFFLINE),
    (r"could not read (Username|Password)|Authentication failed|Permission denied \(|error: 401",
     "{host} asks for a login"),
    (r"from proxy|CONNECT tunnel|error: 407", "the proxy does not let {host} through"),
    (r"SSL certificate|certificate verif|self.signed certificate|CERTIFICATE_VERIFY",
     "the certificate of {host} is not trusted"),
    (r"error: 403|403 Client|HTTP error 403", "{host} refuses access"),
    (r"error: 404|404 Client|HTTP error 404|[Rr]epository.* not found|does not appear to be a git"
     r"|does not exist", "{host} has no such repository"),
    (r"error: (429|5\d\d)|HTTP error (429|5\d\d)", "{host} cannot answer now"),
    (r"No matching distribution|Could not find a version|does not offer",
     "{host} has no such release"),
    (r"could not reach its index|no answer (for|within)|resolve (host|proxy)|[Cc]onnection (refused"
     r"|reset|timed out|broken)|[Ff]ailed to connect|timed out|[Rr]ead ?[Tt]imeout|unreachable"
     r"|No route to host|look up|unable to connect|unable to access|hung up|early EOF|disconnect"
     r"|Could not read from remote|name resolution|name or service not known",
     "{host} does not answer"),
    (r"^no pip in this Python", "pip is not installed"),
)  # fmt: skip
"""Patterns of messages about a source that does not serve here; the first match counts. Any other
message speaks against the pin or the source and is printed unchanged."""


@dataclass(frozen=True)
class SourceFailure:
    """A source that did not serve. ``reason`` is short; ``text`` is git's or pip's message.

    ``away``: the source does not answer here or refuses this machine, which says nothing against
    the pin. Otherwise it answered with something else than the pin names.
    """

    source: str
    text: str
    reason: str
    away: bool

    def __str__(self) -> str:
        return f"{self.source}: {self.text}" if self.source else self.text


def source_failure(source: GitSource | Sdist | None, text: str) -> SourceFailure:
    """Classify git's or pip's message about a source."""
    named = str(source) if source is not None else ""
    for pattern, words in _KINDS:
        if re.search(pattern, text):
            host = _host(source, text)
            if host.startswith("/") and "no such repository" in words:
                words = "there is no git repository at {host}"
            if isinstance(source, Sdist) and "no such release" in words:
                words = f"{{host}} has no {source.name} {source.version}"
            return SourceFailure(named, text, words.format(host=host), away=True)
    reason = " ".join(text.split())
    reason = reason if len(reason) <= _LONGEST else reason[: _LONGEST - 3] + "..."
    return SourceFailure(named, text, reason, away=False)


def _host(source: GitSource | Sdist | None, text: str) -> str:
    """Return the host that was asked; behind a mirror it is not the pin's."""
    for pattern in _HOSTS:
        if match := re.search(pattern, text):
            return match[1]
    if isinstance(source, GitSource):
        quoted = re.search(r"'(/[^']*)'", text)
        parts = urlsplit(source.url)
        return parts.hostname or _short_path(quoted[1] if quoted else parts.path)
    return INDEX


def _short_path(path: str) -> str:
    parts = path.rstrip("/").split("/")
    return path if len(path) <= 50 else "/".join(["/...", *parts[-2:]])


def short_reason(failures: Iterable[SourceFailure]) -> str:
    """Join the reasons of several sources in one line, each once."""
    return "; ".join(dict.fromkeys(failure.reason for failure in failures))


def no_source(name: str, failures: Iterable[SourceFailure]) -> SourceUnavailable:
    """Return the error for an upstream that none of its sources serves.

    The message of a source that answered with something else than the pin names is given in full.
    """
    failures = tuple(failures)
    detail = "\n".join(map(str, failures))
    reason = short_reason(failures)
    if all(failure.away for failure in failures):
        text = f"{name}: not reachable: {reason}; `porter doctor` says what would help"
        return SourceUnavailable(text, reason=reason, detail=detail)
    reasons = "; ".join(dict.fromkeys(f.reason if f.away else str(f) for f in failures))
    text = f"{name}: no source could be used: {reasons}"
    return SourceUnavailable(text, reason=reason, detail=detail, away=False)
