"""Read a package's name, version, licence and requirements from its files; nothing is executed."""

from __future__ import annotations

import ast
import configparser
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FILES = ("pyproject.toml", "setup.cfg", "setup.py", "PKG-INFO", "requirements.txt")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Metadata:
    """What the files state; None or empty where they do not."""

    name: str | None = None
    version: str | None = None
    license: str | None = None
    requirements: tuple[str, ...] = ()


def read_metadata(files: Mapping[str, bytes]) -> Metadata:
    """Return what :data:`FILES`, by name, state. The first of them that states a fact counts."""
    texts = {name: files.get(name, b"").decode("utf-8", "replace") for name in FILES}
    stated: dict[str, str] = {}
    requirements: list[str] = []
    readers = (_pyproject, _setup_cfg, _setup_py, _pkg_info)
    for name, read in zip(FILES, readers, strict=False):
        facts = read(texts[name])
        requirements += _lines(facts.pop("requirements", ()))
        stated = {key: v for key, v in facts.items() if isinstance(v, str) and v.strip()} | stated
    requirements += _lines(texts["requirements.txt"].splitlines())
    return Metadata(
        name=stated.get("name"),
        version=stated.get("version"),
        license=stated.get("license"),
        requirements=tuple(dict.fromkeys(requirements)),
    )


def _lines(rows: Any) -> list[str]:
    """Return the rows that require a package by name, without comments."""
    if not isinstance(rows, Iterable):
        return []
    plain = (re.split(r"\s#|^#", row)[0].strip() for row in rows if isinstance(row, str))
    return [row for row in plain if _REQUIREMENT.match(row) and "://" not in row]


def _pyproject(text: str) -> dict[str, Any]:
    for module in ("tomllib", "pip._vendor.tomli"):  # Python 3.10 has pip's alone
        try:
            data = importlib.import_module(module).loads(text)
        except ImportError:
            continue
        except ValueError:
            return {}
        project = data.get("project") or data.get("tool", {}).get("poetry") or {}
        own = project.get("license")
        own = own.get("text") if isinstance(own, dict) else own
        rows = project.get("dependencies", ())
        return {**project, "license": own, "requirements": list(rows)}
    return {}


def _setup_cfg(text: str) -> dict[str, Any]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    facts: dict[str, Any] = dict(parser["metadata"]) if "metadata" in parser else {}
    if facts.get("version", "").startswith(("attr:", "file:")):
        del facts["version"]
    rows = parser.get("options", "install_requires", fallback="").splitlines()
    return {**facts, "requirements": rows}


def _setup_py(text: str) -> dict[str, Any]:
    """Return the literal arguments of the call of ``setup``."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    facts: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "setup":
            for keyword in node.keywords:
                try:
                    facts[keyword.arg or ""] = ast.literal_eval(keyword.value)
                except (ValueError, TypeError, RecursionError):
                    continue
    return {**facts, "requirements": facts.get("install_requires", ())}


def _pkg_info(text: str) -> dict[str, Any]:
    found = dict(re.findall(r"(?m)^(Name|Version|License|License-Expression): *(.+?) *$", text))
    return {
        "name": found.get("Name"),
        "version": found.get("Version"),
        "license": found.get("License-Expression") or found.get("License"),
        "requirements": re.findall(r"(?m)^Requires-Dist: *([^;\n]+)", text),
    }


def version_in(source: bytes) -> str | None:
    """Return the ``__version__`` that a module's source assigns."""
    found = re.search(rb"""(?m)^__version__\s*=\s*["']([^"'\n]+)["']""", source)
    return found[1].decode("ascii", "replace") if found else None
