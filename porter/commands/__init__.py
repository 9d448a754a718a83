"""One module per command, in one flat folder: who looks for a command knows its name.

Each has ``add_arguments(parser)``, ``run(args) -> int`` (an exit code) and ``EXAMPLES``: two to
four command lines, each with a line of what it does, which end its help. Arguments follow the
grammar of :mod:`porter.commands.options`. Only the module of the given command is imported, and it
imports heavy modules inside ``run``, so that ``porter --help`` takes no longer than Python itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A command: name, module under ``porter.commands``, heading and one-line help.

    ``needs`` says what must be there: a "project" (a tree knows its own), or "nothing". ``writes``
    is True for a command that writes into the project: in a tree of another project than the one
    here it asks for ``--root`` (:func:`porter.commands.options.project_folder`).
    """

    name: str
    module: str
    group: str
    help: str
    needs: str = "project"
    writes: bool = False


COMMANDS: tuple[Command, ...] = (
    Command("init", "init", "Start", "make a project: pins, folders, schemas", needs="nothing"),
    Command("add", "add", "Start", "pin an upstream and make a port of it"),
    Command("list", "list_ports", "Look", "ports, their levels, pins and licences"),
    Command("show", "show", "Look", "one level: its header, files and diff"),
    Command("log", "log", "Look", "the levels of a port or of a tree"),
    Command("status", "status", "Look", "the level a tree is at, and its local edits"),
    Command("diff", "diff", "Look", "difference between two levels"),
    Command("apply", "apply", "Trees", "check a level out into a folder"),
    Command("next", "step", "Trees", "move a tree one level up"),
    Command("prev", "step", "Trees", "move a tree one level down"),
    Command("goto", "goto", "Trees", "move a tree to a level"),
    Command(
        "refresh", "refresh", "Series", "make a tree's edits and commits the series", writes=True
    ),
    Command("new", "new", "Series", "make a tree's edits a new level", writes=True),
    Command("rename", "rename", "Series", "give a level another name", writes=True),
    Command("move", "move", "Series", "move a level to another place", writes=True),
    Command("split", "split", "Series", "make two levels of one, by files", writes=True),
    Command("fold", "fold", "Series", "make one level of two", writes=True),
    Command("drop", "drop", "Series", "take levels out of the series", writes=True),
    Command(
        "import",
        "import_series",
        "Series",
        "take in patches, mails, a git range or a tree",
        writes=True,
    ),
    Command(
        "export", "export", "Series", "make commits the series, or give levels out", writes=True
    ),
    Command("rebase", "rebase", "Series", "move a port to another upstream commit", writes=True),
    Command("undo", "undo", "Series", "take the last change of a series back", writes=True),
    Command("redo", "undo", "Series", "make the change that was undone again", writes=True),
    Command("scan", "scan", "Scan", "find what an accelerator trips over in code", "nothing"),
    Command("explain", "explain", "Scan", "describe a rule of scan", "nothing"),
    Command("lint", "lint", "Checks", "find patches that are not fit for review"),
    Command("lock", "lock", "Checks", "write levels.lock", writes=True),
    Command("check", "check", "Checks", "rebuild every level and compare with levels.lock"),
    Command("verify", "verify", "Checks", "run the recipes: what each level keeps"),
    Command("compare", "compare", "Checks", "find where one level diverges from another"),
    Command("judge", "judge", "Checks", "judge stored traces again, without running"),
    Command("bisect", "bisect", "Checks", "find the level that broke a claim"),
    Command(
        "mutate", "mutate", "Checks", "make wrong ports on purpose: how many the recipes catch"
    ),
    Command("matrix", "matrix", "Checks", "everything to verify, as a CI job matrix"),
    Command("report", "report", "Checks", "write the results of stored runs as one HTML file"),
    Command(
        "migration-log",
        "migration_log",
        "Checks",
        "write the logs of CUDA calls of each level",
        writes=True,
    ),
    Command("run", "run", "Checks", "run a script on a real or a simulated device", "nothing"),
    Command("fetch", "fetch", "Upstreams", "fetch the pinned upstreams into the store"),
    Command("store", "store", "Upstreams", "verify the stored objects"),
    Command("gc", "gc", "Upstreams", "delete what no pin needs"),
    Command(
        "doctor", "doctor", "Upstreams", "what this machine has, and what works with it", "nothing"
    ),
    Command(
        "schema",
        "schema",
        "Upstreams",
        "JSON Schemas of porter's YAML files, for editors",
        "nothing",
    ),
    Command(
        "completion", "completion", "Upstreams", "completion for bash, zsh and fish", "nothing"
    ),
)
