"""Folders go to other machines as git objects: each object once, and compared where they arrive."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from porter.verify.cluster.shipping import Receiver, Sender, SentFolder


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The packs that were sent; their places in it are the references. The cache is the test's."""
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "cache"))
    return []


@pytest.fixture
def sender(stored: list[bytes]) -> Sender:
    def put(pack: bytes) -> int:
        stored.append(pack)
        return len(stored) - 1

    return Sender(put)


@pytest.fixture
def receiver(stored: list[bytes]) -> Receiver:
    return Receiver(lambda packs: [stored[at] for at in packs])


@pytest.fixture
def level(tmp_path: Path) -> Path:
    folder = tmp_path / "level"
    (folder / "src" / "__pycache__").mkdir(parents=True)
    (folder / "src" / "big.py").write_text("# a file that every level has\n" * 1000)
    (folder / "src" / "__pycache__" / "big.pyc").write_bytes(b"byte code")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "link").symlink_to("src/big.py")
    return folder


def git_tree(folder: Path) -> str:
    """Return the id that git gives a folder."""
    for command in (
        ("init", "-q"),
        ("add", "-A", "."),
        ("rm", "-rq", "--cached", "src/__pycache__"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    done = subprocess.run(
        ["git", "write-tree"], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_folder_arrives_as_git_has_it(level: Path, sender: Sender, receiver: Receiver) -> None:
    sent = sender.send(level)

    there = receiver.folder(sent)

    assert sorted(str(path.relative_to(there)) for path in there.rglob("*")) == [
        "link", "src", "src/big.py", "tool",
    ]  # fmt: skip
    assert (there / "link").readlink() == Path("src/big.py")
    assert (there / "tool").stat().st_mode & 0o777 == 0o555
    assert (there / "src" / "big.py").read_bytes() == (level / "src" / "big.py").read_bytes()
    assert sent.tree == git_tree(level)


def test_what_two_levels_share_is_sent_once(
    level: Path, sender: Sender, receiver: Receiver, stored: list[bytes]
) -> None:
    first = sender.send(level)
    (level / "new.py").write_text("x = 1\n")
    second = sender.send(level)

    assert second.tree != first.tree
    assert len(stored) == 2
    assert len(stored[1]) < len(stored[0])
    assert (receiver.folder(second) / "src" / "big.py").is_file()
    assert sender.send(level) == second
    assert len(stored) == 2


def test_a_machine_takes_what_it_lacks_alone(
    level: Path, sender: Sender, stored: list[bytes]
) -> None:
    asked: list[int] = []

    def get(packs: list[int]) -> list[bytes]:
        asked.extend(packs)
        return [stored[at] for at in packs]

    sent = sender.send(level)
    first = Receiver(get).folder(sent)

    assert Receiver(get).folder(sent) == first
    assert asked == [0]


def test_a_folder_that_was_changed_on_the_machine_is_written_again(
    level: Path, sender: Sender, receiver: Receiver
) -> None:
    sent = sender.send(level)
    there = receiver.folder(sent)
    changed = there / "src" / "big.py"
    changed.chmod(0o644)
    changed.write_text("import os\n")

    assert receiver.folder(sent) == there
    assert changed.read_bytes() == (level / "src" / "big.py").read_bytes()


def test_a_pack_that_is_damaged_is_refused(
    level: Path, sender: Sender, stored: list[bytes], receiver: Receiver
) -> None:
    sent = sender.send(level)
    stored[0] = stored[0][:-30] + bytes([stored[0][-30] ^ 1]) + stored[0][-29:]

    with pytest.raises(Exception, match="cannot store objects"):
        receiver.folder(SentFolder(sent.tree, sent.packs))
