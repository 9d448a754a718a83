"""Find what an argument of ``porter add`` names: a git repository at a commit, or a release.

git alone is asked, with the user's configuration (``insteadOf``, proxies, credentials).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from porter.errors import BadInput, SourceUnavailable
from porter.git.objects import Oid
from porter.git.odb import Odb
from porter.terminal import listed
from porter.upstream.failure import OFFLINE, SourceFailure, source_failure
from porter.upstream.gitfetch import (
    FetchFailed,
    Progress,
    create_repository,
    fetch_history,
    fetch_objects,
    list_refs,
    publish_packs,
    staging,
)
from porter.upstream.pins import (
    URL_PATTERN,
    GitSource,
    Pin,
    tree_of_commit,
)
from porter.upstream.sources import check_names
from porter.upstream.store import offline_asked, repository, upstream_lock

_OWNER_AND_NAME = re.compile(r"[A-Za-z0-9][\w-]*/[\w.-]+")
_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==([0-9][\w.!+-]*))?")
_SCP_LIKE = re.compile(r"([\w.-]+@)?([\w][\w.-]*):(?!/)([^\s:]+)")
_OID = re.compile(r"[0-9a-f]{40}")
_SHORT_OID = re.compile(r"[0-9a-fA-F]{4,39}")
_EXPECTED = (
    "a URL, OWNER/NAME of GitHub, the folder of a git repository, or a package of PyPI"
    " (NAME or NAME==VERSION)"
)


@dataclass(frozen=True)
class Address:
    """The URL of a git repository."""

    url: str

    @property
    def name(self) -> str:
        """The repository's own name."""
        return unquote(self.url.rstrip("/").removesuffix(".git").rstrip("/").rpartition("/")[2])

    @property
    def is_local(self) -> bool:
        """Whether the repository is a folder of this machine."""
        return self.url.startswith("file://")


@dataclass(frozen=True)
class Package:
    """A package of an index; without ``version`` its newest release."""

    name: str
    version: str | None


@dataclass(frozen=True)
class Resolved:
    """A commit that the store holds with its trees. ``ref`` is the name that led to it."""

    source: GitSource
    tree: Oid
    ref: str


def read_address(text: str) -> Address | Package:
    """Return what an argument names. An existing folder comes before any other meaning.

    Raises BadInput for anything else.
    """
    path = Path(text).expanduser()
    looks_local = text.startswith((".", "/", "~"))
    if path.is_dir() and (looks_local or is_repository(path)):
        if not is_repository(path):
            raise BadInput(f"{text}: expected a git repository, found a folder without one")
        return Address(path.resolve().as_uri())
    if looks_local:
        raise BadInput(f"{text}: expected {_EXPECTED}, found no such folder")
    if "://" in text:
        return Address(_checked(text))
    if _OWNER_AND_NAME.fullmatch(text):
        return Address(_checked(f"https://github.com/{text.removesuffix('.git')}"))
    if found := _PACKAGE.fullmatch(text):
        return Package(found[1], found[2])
    if found := _SCP_LIKE.fullmatch(text):
        return Address(_checked(f"ssh://{found[1] or ''}{found[2]}/{found[3]}"))
    raise BadInput(f"{text!r}: expected {_EXPECTED}")


def is_repository(folder: Path) -> bool:
    """Return whether a folder is a git repository, with a work tree or bare."""
    return (folder / ".git").exists() or (
        (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    )


def _checked(url: str) -> str:
    if not re.match(URL_PATTERN, url):
        raise BadInput(
            f"{re.sub(r'//[^/@]*@', '//...@', url)}: expected a URL of https://, http://, ssh://,"
            " git:// or file:///, without a password (git's credential helper keeps those)"
        )
    return url


def resolve(
    name: str, address: Address, ref: str | None, progress: Progress | None = None
) -> Resolved:
    """Bring the commit that ``ref`` names (default: the default branch's) into the store as
    ``name``, with its trees.

    ``ref`` is a branch, a tag, or a commit id, in full or its beginning. Raises SourceUnavailable
    when the repository does not answer, BadInput when it has no such commit.
    """
    url = address.url
    expect_online(url)
    try:
        with upstream_lock(name, progress):
            create_repository(repository(name))
            found, said = _commit_of(name, url, ref, progress)
            commit, tree = _bring(name, url, found, progress)
    except FetchFailed as error:
        failure = source_failure(GitSource(url, Oid("")), str(error))
        if not failure.away and ref is not None:
            raise BadInput(f"{url}: no commit {ref}: {failure.reason}") from None
        raise not_reachable(url, failure) from None
    return Resolved(GitSource(url, commit), tree, said)


def expect_online(what: str) -> None:
    """Raise SourceUnavailable when porter is told to contact no source."""
    if offline_asked():
        raise not_reachable(what, source_failure(None, OFFLINE))


def not_reachable(what: str, failure: SourceFailure) -> SourceUnavailable:
    """Return the error for an upstream that does not answer."""
    text = f"{what}: not reachable: {failure.reason}"
    return SourceUnavailable(text, reason=failure.reason, detail=str(failure))


def _commit_of(name: str, url: str, ref: str | None, progress: Progress | None) -> tuple[Oid, str]:
    """Return the id that ``ref`` stands for at the remote, and what it is."""
    if ref is None:
        refs, branch = list_refs(url, "HEAD")
        if "HEAD" not in refs:
            raise BadInput(f"{url}: expected a default branch, found none; name one by --commit")
        return _sha1(url, refs["HEAD"]), branch
    if _OID.fullmatch(ref.lower()):
        return Oid(ref.lower()), ""
    short = ref.removeprefix("refs/").removeprefix("heads/").removeprefix("tags/")
    names = (f"refs/tags/{short}^{{}}", f"refs/tags/{short}", f"refs/heads/{short}", ref)
    refs, _ = list_refs(url, *names)
    for each in names:
        if each in refs:
            return _sha1(url, refs[each]), short
    if _SHORT_OID.fullmatch(ref):
        return _unabbreviated(name, url, ref.lower(), progress), ""
    raise _no_ref(url, ref)


def _sha1(url: str, oid: Oid) -> Oid:
    if not _OID.fullmatch(oid):
        raise BadInput(f"{url}: expected a repository of SHA-1 ids, found the id {oid}")
    return oid


def _no_ref(url: str, ref: str) -> BadInput:
    refs, _ = list_refs(url, "refs/heads/*", "refs/tags/*")
    names = list(dict.fromkeys(n.split("/", 2)[2].removesuffix("^{}") for n in refs))
    near = difflib.get_close_matches(ref, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {listed(names) or 'none'}"
    return BadInput(f"{url}: no branch, tag or commit {ref!r}; {hint}")


def _unabbreviated(name: str, url: str, short: str, progress: Progress | None) -> Oid:
    """Return the one commit of the remote's branches and tags whose id begins so."""
    with staging(name) as fresh:
        fetch_history(fresh, url, f"{name}: commits, to find {short}", progress)
        with Odb(fresh) as odb:
            ids = odb.beginning_with(short)
            found = [oid for oid, (kind, _) in odb.read_typed(ids).items() if kind == "commit"]
    if len(found) > 1:
        raise BadInput(f"{url}: {short} begins {listed(sorted(found))}; give more digits")
    if not found:
        raise BadInput(
            f"{url}: no commit of its branches and tags begins with {short}; give all 40 digits"
        )
    return found[0]


def _bring(name: str, url: str, oid: Oid, progress: Progress | None) -> tuple[Oid, Oid]:
    """Store a commit (or the one that a tag object names) with its trees; return both ids."""
    with Odb(repository(name)) as odb:
        if (kept := odb.read_typed([oid]).get(oid)) and kept[0] == "commit":
            return oid, tree_of_commit(kept[1])
    with staging(name) as fresh:
        fetch_objects(fresh, url, [oid], f"{name}: commit and trees", progress)
        with Odb(fresh) as odb:
            kind, body = odb.read_typed([oid]).get(oid, ("nothing", b""))
            while kind == "tag":
                oid = Oid(body.split(b"\n", 1)[0].removeprefix(b"object ").decode())
                kind, body = odb.read_typed([oid]).get(oid, ("nothing", b""))
            if kind != "commit":
                raise BadInput(f"{url}: expected {oid} to be a commit, found a {kind}")
            tree = tree_of_commit(body)
            pin = Pin(name=name, tree=tree, license="NOASSERTION", sources=())
            check_names(pin, odb.flat(tree))
        publish_packs(fresh, repository(name))
    return oid, tree


def default_name(address: Address | Package) -> str:
    """Return the name of a port for its upstream: lower case, with hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", address.name.lower()).strip("-.")


def submodule_url(url: str, base: str) -> str:
    """Return a submodule's URL; a relative one starts at its upstream's, as git has it."""
    if not url.startswith(("./", "../")):
        return url
    parts = base.rstrip("/").split("/")
    for part in url.split("/"):
        if part == "..":
            parts.pop()
        elif part not in (".", ""):
            parts.append(part)
    return "/".join(parts)
