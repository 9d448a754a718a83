"""What modules are called: ``CC12M1Model.net.3.main.0``, from the outermost owner inwards.

Owners are learnt as modules are registered in each other, so a part is named by its model also
where only the part is called (an autoencoder's decoder, without the pipeline around it). Models
built before, and copies, are learnt when they are called.
"""

from __future__ import annotations

import weakref
from collections import Counter

import torch
from torch.nn.modules.module import register_module_module_registration_hook

Module = torch.nn.Module


class ModulePaths:
    """Names of modules; different ones have different names."""

    def __init__(self) -> None:
        self._owners: weakref.WeakKeyDictionary[Module, tuple[weakref.ref[Module], str]] = (
            weakref.WeakKeyDictionary()
        )
        self._roots: weakref.WeakKeyDictionary[Module, str] = weakref.WeakKeyDictionary()
        self._taken: Counter[str] = Counter()
        self._hook = register_module_module_registration_hook(self._registered)

    def close(self) -> None:
        """Learn no more."""
        self._hook.remove()

    def _registered(self, owner: Module, name: str, part: Module | None) -> None:
        if isinstance(part, Module):
            self._owners[part] = weakref.ref(owner), name

    def learn(self, module: Module) -> None:
        """Learn the parts of a module that was not seen being built."""
        for part in module.modules():
            for name, inner in part.named_children():
                if inner not in self._owners:
                    self._owners[inner] = weakref.ref(part), name

    def name(self, module: Module, inside: str) -> str:
        """Return a module's path; ``inside`` names the call around it, "" when there is none.

        A module without owner that is made and called within another's call is named by that one.
        """
        names: list[str] = []
        at, seen = module, {id(module)}
        while (owned := self._owners.get(at)) is not None:
            owner = owned[0]()
            if owner is None or id(owner) in seen:
                break
            names.append(owned[1])
            seen.add(id(owner))
            at = owner
        if at is module and module not in self._roots:
            self.learn(module)
            if inside:
                return f"{inside}/{type(module).__name__}"
        return ".".join([self._root(at), *reversed(names)])

    def _root(self, module: Module) -> str:
        if module not in self._roots:
            kind = type(module).__name__
            self._taken[kind] += 1
            number = self._taken[kind]
            self._roots[module] = kind if number == 1 else f"{kind}#{number}"
        return self._roots[module]
