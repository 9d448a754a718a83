"""What no source serves comes from an archive by content, through the API of Software Heritage."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from porter.cli import main
from porter.errors import BadInput, SourceUnavailable
from porter.git.objects import Oid, hash_object
from porter.places import cache_dir
from porter.upstream import archive as archives
from porter.upstream.archive import Archive, ArchiveFailed, commit_body, software_heritage
from porter.upstream.doctor import ask_archive
from porter.upstream.pins import Pin
from porter.upstream.store import fetch, open_upstream
from tests.remotes import FILES, Remote, git, make_remote, one_pin, record_pin_files


def revision(body: bytes) -> dict[str, Any]:
    """A commit as the archive's JSON has it, written from its documentation."""
    head, _, message = body.decode().partition("\n\n")
    found: dict[str, Any] = {"parents": [], "extra_headers": [], "message": message}
    for line in head.replace("\n ", "\0").split("\n"):
        name, _, value = line.partition(" ")
        if name == "tree":
            found["directory"] = value
        elif name == "parent":
            found["parents"].append({"id": value, "url": ""})
        elif name in ("author", "committer"):
            who, seconds, zone = value.rsplit(" ", 2)
            shift = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:]))
            when = datetime.fromtimestamp(int(seconds), timezone(shift)).isoformat()
            found[name] = {"fullname": who, "name": who.partition(" <")[0]}
            found["date" if name == "author" else "committer_date"] = when
        else:
            found["extra_headers"].append([name, value.replace("\0", "\n")])
    return found


@dataclass
class Server:
    """A server of the API over one repository. ``harm`` may change an answer (status, body)."""

    repository: Path
    address: str = ""
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    harm: Callable[[str, int, bytes], tuple[int, bytes]] = lambda path, status, body: (status, body)

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        status, body = 404, b'{"exception": "NotFoundExc"}'
        kinds = r"/api/1/(content/sha1_git:|directory/|revision/)([0-9a-f]{40})(/raw)?/"
        if match := re.fullmatch(kinds, path):
            kind = {"c": "blob", "d": "tree", "r": "commit"}[match[1][0]]
            if (match[3] is not None) == (kind == "blob") and self.has(match[2]):
                raw = git("--git-dir", self.repository, "cat-file", kind, match[2])
                status = 200
                body = raw
                if kind == "commit":
                    body = json.dumps(revision(raw)).encode()
                elif kind == "tree":
                    body = json.dumps(self.entries(match[2])).encode()
        return self.harm(path, status, body)

    def has(self, oid: str) -> bool:
        line = git("--git-dir", self.repository, "cat-file", "--batch-check", feed=oid.encode())
        return b"missing" not in line

    def entries(self, tree: str) -> list[dict[str, Any]]:
        rows = git("--git-dir", self.repository, "ls-tree", tree).decode().splitlines()
        found = []
        for row in rows:
            (mode, kind, oid), name = row.split("\t")[0].split(), row.split("\t")[1]
            kinds = {"blob": "file", "tree": "dir", "commit": "rev"}
            found.append(
                {"name": name, "perms": int(mode, 8), "target": oid, "type": kinds[kind]}
                | {"dir_id": tree, "length": None}
            )
        return found


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def server(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The archive has the remote; its own host is gone."""
    served = Server(remote.path.rename(remote.path.with_name("archived")))

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.tokens.add(self.headers.get("Authorization"))
            status, body = served.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=listening.serve_forever, daemon=True).start()
    served.address = f"http://127.0.0.1:{listening.server_port}"
    monkeypatch.setattr(archives, "_silent", {})
    monkeypatch.setenv("PORTER_SOFTWARE_HERITAGE", served.address)
    yield served
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def pin(tmp_path: Path, remote: Remote) -> Pin:
    return one_pin(tmp_path / "project", remote)


def test_a_vanished_upstream_comes_whole(tmp_path: Path, pin: Pin, server: Server) -> None:
    found = fetch(tmp_path / "project", pin)

    assert (found.covered, found.wanted, found.missing) == (5, 5, ())
    assert found.source == f"Software Heritage ({server.address[7:].partition(':')[0]})"
    with open_upstream(tmp_path / "project", pin) as upstream:
        paths = upstream.listing()
        contents = upstream.blobs(entry.oid for entry in paths.values())
        held = {path.decode(): contents[entry.oid] for path, entry in paths.items()}
    assert held == FILES
    assert server.tokens == {None}


def test_with_the_pins_own_files_only_what_is_needed_is_asked_for(
    tmp_path: Path, pin: Pin, remote: Remote, server: Server
) -> None:
    kept = Remote(server.repository, remote.commit, remote.tree)
    record_pin_files(tmp_path / "project", "model", kept)

    fetch(tmp_path / "project", pin, ["src/model.py"])

    assert len(server.asked) == 2
    assert server.asked[0] == f"/api/1/directory/{pin.tree}/"
    assert server.asked[1].startswith("/api/1/content/sha1_git:")


def test_the_archive_is_asked_for_what_other_sources_lack_alone(
    tmp_path: Path, pin: Pin, server: Server
) -> None:
    server.repository.rename(tmp_path / "remote")
    fetch(tmp_path / "project", pin, ["src/model.py"])
    assert server.asked == []
    (tmp_path / "remote").rename(server.repository)

    fetch(tmp_path / "project", pin, ["src/"])

    assert len(server.asked) == 1


def test_one_setting_turns_it_off(
    tmp_path: Path, pin: Pin, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_SOFTWARE_HERITAGE", "off")

    with pytest.raises(SourceUnavailable):
        fetch(tmp_path / "project", pin)

    assert server.asked == []


def test_offline_it_is_not_asked(
    tmp_path: Path, pin: Pin, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_OFFLINE", "1")

    with pytest.raises(SourceUnavailable):
        fetch(tmp_path / "project", pin)

    assert server.asked == []


def other_bytes(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, body + b"\n") if "/content/" in path else (status, body)


def other_folder(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return status, body.replace(b"README.md", b"../README") if "/directory/" in path else body


def other_commit(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return status, body.replace(b"step", b"stop") if "/revision/" in path else body


def no_json(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, b"[" * 100_000) if "/directory/" in path else (status, body)


def other_types(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, b'{"name": 3}') if "/revision/" in path else (status, body)


@pytest.mark.parametrize("harm", [other_folder, other_commit, no_json, other_types])
def test_another_commit_or_folder_than_asked_for_is_refused(
    tmp_path: Path,
    pin: Pin,
    server: Server,
    harm: Callable[[str, int, bytes], tuple[int, bytes]],
) -> None:
    server.harm = harm

    with pytest.raises(SourceUnavailable, match="found something else at 127") as refused:
        fetch(tmp_path / "project", pin)

    assert not refused.value.away


def test_other_bytes_than_asked_for_are_refused(tmp_path: Path, pin: Pin, server: Server) -> None:
    server.harm = other_bytes

    found = fetch(tmp_path / "project", pin)

    assert (found.covered, found.wanted) == (0, 5)
    assert "found something else" in str(found.reasons[-1])


def test_files_that_it_lacks_do_not_keep_it_from_the_others(
    tmp_path: Path, pin: Pin, server: Server
) -> None:
    lost = hash_object("blob", FILES["LICENSE"])
    server.harm = lambda path, status, body: (404, b"") if lost in path else (status, body)

    found = fetch(tmp_path / "project", pin)

    assert (found.covered, found.missing) == (4, (b"LICENSE",))
    assert found.reasons[-1].reason == "127.0.0.1 has no copy"


def test_what_came_before_the_limit_of_requests_stays(
    tmp_path: Path, pin: Pin, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        few = sum("/content/" in one for one in server.asked) > 2
        return (429, b"") if few else (status, body)

    server.harm = limited
    first = fetch(tmp_path / "project", pin)
    assert (first.covered, len(server.asked)) == (2, 4 + 1 + 3)  # folders, a commit, files
    server.harm = lambda path, status, body: (status, body)
    monkeypatch.setattr(archives, "_silent", {})
    monkeypatch.setenv("PORTER_SWH_TOKEN", "secret")

    second = fetch(tmp_path / "project", pin)

    assert (second.covered, len(server.asked)) == (5, 8 + 3)
    assert "Bearer secret" in server.tokens


def test_a_server_that_is_gone_is_asked_once_and_is_no_reason_of_its_own(
    tmp_path: Path, pin: Pin, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("PORTER_SOFTWARE_HERITAGE", f"http://127.0.0.1:{port}")

    with pytest.raises(SourceUnavailable) as refused:
        fetch(tmp_path / "project", pin)

    assert refused.value.away
    assert "127.0.0.1" not in refused.value.reason
    assert f"127.0.0.1:{port}" in refused.value.detail
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked again"))
    with pytest.raises(ArchiveFailed):
        Archive(f"http://127.0.0.1:{port}").content(Oid("0" * 40))


def test_a_port_is_checked_with_the_archive_alone(
    tmp_path: Path, pin: Pin, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "project" / "patches" / "model"
    folder.mkdir(parents=True)
    (folder / "series").write_text("")
    root = str(tmp_path / "project")
    assert main(["lock", "model", "--root", root]) == 0
    shutil.rmtree(cache_dir())

    assert main(["check", "--strict", "--root", root]) == 0


COMMITS = {
    "signed": b"author A <a@b.c> 1 +0200\ncommitter A <a@b.c> 1700000000 -0130\n"
    b"gpgsig -----BEGIN\n \n abc\n -----END\n\nsubject\n",
    "merge": b"parent %s\nparent %s\nauthor A <a@b.c> 1 +0000\ncommitter A <a@b.c> 2 +0000\n\nm"
    % (b"1" * 40, b"2" * 40),
    "no message": b"author A <a@b.c> 1 +0000\ncommitter A <a@b.c> 2 +0000\n\n",
}


@pytest.mark.parametrize("kind", COMMITS)
def test_a_commit_is_made_again_from_its_parts(kind: str) -> None:
    body = b"tree %s\n" % (b"0" * 40) + COMMITS[kind]

    assert commit_body(json.loads(json.dumps(revision(body)))) == body


@pytest.mark.parametrize("value", ["file:///etc", "https://me:secret@host", "on", "ftp://host"])
def test_a_setting_that_is_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PORTER_SOFTWARE_HERITAGE", value)

    with pytest.raises(BadInput, match="expected off or the address"):
        software_heritage()


def test_without_the_setting_it_is_the_public_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTER_SOFTWARE_HERITAGE")

    assert str(software_heritage()) == "Software Heritage (archive.softwareheritage.org)"


def test_doctor_says_whether_it_answers(server: Server) -> None:
    host = server.address[7:].partition(":")[0]

    assert ask_archive(offline=False).text == f"Software Heritage ({host}): reachable"
    asked = list(server.asked)
    assert len(asked) == 1
    assert ask_archive(offline=True).text == f"Software Heritage ({host}): not asked"
    assert server.asked == asked
    server.harm = lambda path, status, body: (503, b"")
    fact = ask_archive(offline=False)
    assert (fact.ok, fact.text) == (
        None,
        f"Software Heritage: {host} cannot answer now (HTTP 503)",
    )
    assert "HTTP error 503" in fact.detail


def test_doctor_says_that_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTER_SOFTWARE_HERITAGE", "off")

    fact = ask_archive(offline=False)

    assert (fact.ok, fact.text) == (None, "off (PORTER_SOFTWARE_HERITAGE)")
