"""Put this process into namespaces of its own, before the probe's code is imported.

Linux only, without any privilege: a user namespace, and in it a mount namespace (everything
read-only but the run's folder; home and temporary folders replaced by empty ones), a network
namespace with nothing but its own loopback, and host name and System V objects of its own. All
capabilities are dropped afterwards, for good, so nothing can be mounted back.

Standard library only, and no import of porter: ``python sandbox.py`` tries it out. Sources:
namespaces(7), user_namespaces(7), mount_setattr(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x40000000
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 1
_NO_NEW_PRIVS, _CAPBSET_DROP, _CAPABILITIES_3 = 38, 24, 0x20080522
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class NoSandbox(Exception):
    """The system does not let this process have its namespaces; the text says what it refused."""


def enter(spec: Mapping[str, Sequence[str]]) -> None:
    """Enter the namespaces. Absolute paths without links: ``hidden`` folders become empty ones,
    read-only; ``emptied`` ones are empty and may be written; ``shown`` ones below these stay as
    they are, read-only; ``writable`` ones stay as they are. ``links`` are symbolic links in hidden
    or emptied folders, by which paths lead there.

    The process must have one thread. Raises NoSandbox.
    """
    here = Path.cwd()
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEWUSER | _NEWNS | _NEWNET | _NEWUTS | _NEWIPC)
    try:
        with suppress(FileNotFoundError):  # before Linux 3.19
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _mount("", "/", "", _REC | _PRIVATE)
        _arrange(spec)
        os.chdir(here)  # the working folder was that of the mount before
        _raise_loopback()
        socket.sethostname("localhost")
    except OSError as error:
        raise NoSandbox(f"{error.filename or 'namespaces'}: {error.strerror}") from error
    _drop_capabilities()


def _arrange(spec: Mapping[str, Sequence[str]]) -> None:
    """Make the file system read-only, cover folders, and bring back what is needed below them."""
    kept = {*spec["shown"], *spec["writable"]}
    files = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sorted(kept)}
    targets = {path: Path(path).readlink() for path in spec["links"]}
    _set_read_only("/", recursive=True)
    covers = {*spec["hidden"], *spec["emptied"]} - kept
    covered = set()
    for path in sorted(covers | kept, key=lambda path: (path.count("/"), path)):
        if path in covers:
            if Path(path).is_dir():  # else a folder above it is covered
                _mount("tmpfs", path, "tmpfs", _NOSUID | _NODEV, "mode=1777,size=50%")
                covered.add(path)
            continue
        if any(path.startswith(f"{cover}/") for cover in covers):
            _make_target(path, files[path])
        elif path in spec["shown"]:
            continue  # visible already
        _mount(f"/proc/self/fd/{files[path]}", path, "", _BIND | _REC)
        if path in spec["writable"]:
            _set_read_only(path, on=False)
    for path, target in targets.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            Path(path).symlink_to(target)
    for path in spec["hidden"]:
        if path in covered:
            _set_read_only(path)
    for file in files.values():
        os.close(file)


def _make_target(path: str, file: int) -> None:
    """Make what a path can be mounted on, in an empty folder above it."""
    target, is_folder = Path(path), Path(f"/proc/self/fd/{file}").is_dir()
    (target if is_folder else target.parent).mkdir(parents=True, exist_ok=True)
    if not is_folder:
        target.touch()


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        row = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", row)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _drop_capabilities() -> None:
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        _call("prctl", _CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [text.encode() or None for text in (source, target, kind)]
    _call("mount", *words, ctypes.c_ulong(flags), data.encode() or None, path=target)


def _set_read_only(path: str, *, on: bool = True, recursive: bool = False) -> None:
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY if on else 0, 0 if on else _ATTR_RDONLY, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _call("syscall", _MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, attributes, size, path=path)


def _call(name: str, *arguments: object, path: str = "") -> None:
    """Call a function of the C library. Raises NoSandbox when it fails."""
    if getattr(_LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        at = f" {path}" if path else ""
        what = "mount_setattr" if name == "syscall" else name
        more = " (user namespaces are off or restricted here)" if name == "unshare" else ""
        raise NoSandbox(f"{what}{at}: {os.strerror(number)}{more}")


def main() -> int:
    """Try it; print why it cannot be had, and nothing if it can."""
    try:
        enter(
            {"hidden": [], "emptied": [], "shown": [], "links": [], "writable": [str(Path.cwd())]}
        )
    except NoSandbox as why:
        print(why)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
