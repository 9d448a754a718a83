"""The archive of Software Heritage, asked for what no source of a pin serves.

Git's ids are the archive's: a commit is ``swh:1:rev:ID``, a tree ``swh:1:dir:ID``, a file
``swh:1:cnt:ID`` (https://www.swhid.org). So every pin can be asked for there, by content, whatever
became of its host, and everything that arrives is hashed. The calls are those that the archive's
documentation of its web API, version 1, describes::

    /api/1/revision/ID/               a commit's parts, from which its bytes are made again
    /api/1/directory/ID/              the entries of one folder
    /api/1/content/sha1_git:ID/raw/   a file

``PORTER_SOFTWARE_HERITAGE`` is ``off``, or the address of another server with this API;
``PORTER_SWH_TOKEN`` a token of an account, which may ask more often.

porter has been tried with a local server that speaks this API, not with the archive itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from porter.errors import BadInput
from porter.git.objects import Entry, Oid, blob_id, encode_tree, hash_object
from porter.upstream.failure import SourceFailure
from porter.upstream.gitfetch import FetchFailed

SETTING = "PORTER_SOFTWARE_HERITAGE"
TOKEN = "PORTER_SWH_TOKEN"
PUBLIC = "https://archive.softwareheritage.org"
EMPTY_BLOB = blob_id(b"")
_OFF = ("off", "0", "no")
_SECONDS = 20.0
_MOST_BYTES = 256 * 2**20
_silent: dict[str, str] = {}
"""Servers that did not answer this process, and why: they are not waited for again."""


class ArchiveFailed(FetchFailed):
    """The archive did not serve an object; ``away`` is False when it sent another one."""

    def __init__(self, text: str, reason: str, *, away: bool = True) -> None:
        super().__init__(text)
        self.reason = reason
        self.away = away


@dataclass(frozen=True)
class Archive:
    """A server with the archive's API at ``base``. Every object that it sends is hashed."""

    base: str

    def __str__(self) -> str:
        return f"Software Heritage ({self.host})"

    @property
    def host(self) -> str:
        return urlsplit(self.base).hostname or self.base

    def content(self, oid: Oid) -> bytes:
        """Return a file. Raises ArchiveFailed."""
        data = self._get(f"content/sha1_git:{oid}/raw/")
        if blob_id(data) != oid:
            raise self._other(f"file {oid}")
        return data

    def directory(self, oid: Oid) -> dict[bytes, Entry]:
        """Return the entries of a folder. Raises ArchiveFailed."""
        rows = self._json(f"directory/{oid}/")
        try:
            entries = {
                str(row["name"]).encode(): Entry(int(row["perms"]), Oid(str(row["target"])))
                for row in rows
            }
            found = hash_object("tree", encode_tree(entries.items()))
        except (KeyError, TypeError, ValueError) as error:
            raise self._other(f"folder {oid} ({error!r})") from None
        if found != oid:
            raise self._other(f"folder {oid}")
        return entries

    def files(self, tree: Oid, each: Callable[[int], None]) -> dict[bytes, Entry]:
        """Return the files, links and submodules of a tree by path; ``each`` gets the number of
        folders read. Raises ArchiveFailed."""
        found: dict[bytes, Entry] = {}
        read: dict[Oid, dict[bytes, Entry]] = {}
        waiting = [(b"", tree)]
        while waiting:
            folder, oid = waiting.pop()
            if oid not in read:
                read[oid] = self.directory(oid)
                each(len(read))
            for name, entry in read[oid].items():
                if entry.is_tree:
                    waiting.append((folder + name + b"/", entry.oid))
                else:
                    found[folder + name] = entry
        return found

    def commit(self, oid: Oid) -> bytes:
        """Return a commit's body, made again from its parts. Raises ArchiveFailed.

        Some commits cannot be made again from what the archive tells (another encoding, a zone
        that no clock has): their hash shows it.
        """
        parts = self._json(f"revision/{oid}/")
        try:
            body = commit_body(parts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._other(f"commit {oid} ({error!r})") from None
        if hash_object("commit", body) != oid:
            raise self._other(f"commit {oid}")
        return body

    def ask(self) -> ArchiveFailed | None:
        """Ask for git's empty file, of which any answer will do; return why none came."""
        try:
            self.content(EMPTY_BLOB)
        except ArchiveFailed as error:
            return None if self.answers() else error
        return None

    def answers(self) -> bool:
        """Whether asking it again makes sense: it has answered, or was not asked yet."""
        return self.base not in _silent

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._get(path))
        except (ValueError, RecursionError) as error:
            raise self._other(f"{path} ({error})") from None

    def _get(self, path: str) -> bytes:
        """Ask the server. Raises ArchiveFailed."""
        if self.base in _silent:
            raise ArchiveFailed(_silent[self.base], f"{self.host} does not answer")
        import http.client
        import urllib.error
        import urllib.request

        url = f"{self.base}/api/1/{path}"
        request = urllib.request.Request(url, headers={"User-Agent": "porter"})
        if token := os.environ.get(TOKEN):
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                data: bytes = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(url, error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split()) or repr(error)
            text = _silent.setdefault(self.base, f"{url}: {reason}")
            raise ArchiveFailed(text, f"{self.host} does not answer") from None
        if len(data) > _MOST_BYTES:
            raise ArchiveFailed(f"{url}: longer than 256 MiB", f"{self.host} sent too much")
        return data

    def _refused(self, url: str, code: int) -> ArchiveFailed:
        text = f"{url}: HTTP error {code}"
        if code == 404:
            return ArchiveFailed(text, f"{self.host} has no copy")
        if code == 429:
            _silent[self.base] = text
            return ArchiveFailed(text, f"{self.host} lets nobody ask so often ({TOKEN})")
        if code >= 500 or code in (401, 403):
            _silent[self.base] = text
        return ArchiveFailed(text, f"{self.host} cannot answer now (HTTP {code})")

    def _other(self, what: str) -> ArchiveFailed:
        text = f"expected {what}, found something else at {self.host}"
        return ArchiveFailed(text, text, away=False)


def commit_body(parts: dict[str, Any]) -> bytes:
    """Return the bytes of a commit from the archive's JSON of a revision.

    Raises KeyError, TypeError, ValueError or AttributeError for other JSON.
    """
    lines = [f"tree {parts['directory']}"]
    lines += [f"parent {parent['id']}" for parent in parts["parents"]]
    for role, date in (("author", "date"), ("committer", "committer_date")):
        when = datetime.fromisoformat(parts[date].replace("Z", "+00:00"))
        zone = when.strftime("%z")
        lines.append(f"{role} {parts[role]['fullname']} {int(when.timestamp())} {zone}")
    for name, value in parts.get("extra_headers") or ():
        lines.append(f"{name} " + value.replace("\n", "\n "))
    message = parts["message"]
    text = "\n".join([*lines, ""]) + ("" if message is None else f"\n{message}")
    return text.encode()


def software_heritage() -> Archive | None:
    """Return the archive to ask; None where ``PORTER_SOFTWARE_HERITAGE`` is off.

    Raises BadInput for a value that is no address.
    """
    value = os.environ.get(SETTING, "").strip() or PUBLIC
    if value.lower() in _OFF:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise BadInput(f"{SETTING}: expected off or the address of a server, found {value!r}")
    return Archive(value.rstrip("/"))


def archive_failure(
    archive: Archive, error: ArchiveFailed, others: Iterable[SourceFailure]
) -> SourceFailure:
    """Return the failure of the archive, beside those of the pin's own sources.

    That the archive does not answer either is no reason of its own in a line for people.
    """
    failure = SourceFailure(str(archive), str(error), error.reason, error.away)
    first = next(iter(others), None)
    if first is None or archive.answers():
        return failure
    return replace(failure, reason=first.reason)
