"""`hfgen models`: the catalogue, what is on this machine, fetching, removing, and aliases."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer

from hfgen.cli.flags import common as flags
from hfgen.cli.io.model_tables import described, inventory_table, pulled_line
from hfgen.cli.program.asking import ask
from hfgen.cli.program.commands import command_group
from hfgen.cli.program.console import Console
from hfgen.cli.program.failures import Terminated
from hfgen.errors import OptionConflict, UsageError
from hfgen.models.gguf.conversions import conversions
from hfgen.models.hub import local
from hfgen.models.naming import aliases as own_aliases
from hfgen.models.naming import catalogue
from hfgen.models.naming.packaged import packaged_file
from hfgen.models.sizing.quantities import in_bytes

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Alias, Hub id (id@revision) or folder.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def list_models(
    console: Console,
    as_json: AsJson = False,
) -> None:
    """List the catalogue, cached models, converted GGUF files and your own aliases.

    hfgen models list
    hfgen models list --json | jq '.cached[].repo_id'
    """
    cached, own = local.cached_models(), own_aliases.user_aliases()
    converted = conversions()
    if as_json:
        _write_json(
            console,
            {
                "catalogue": [_entry_record(entry) for entry in catalogue.CATALOGUE.values()],
                "cached": [_cached_record(model) for model in cached],
                "converted": [
                    dataclasses.asdict(one) | {"path": str(one.path)} for one in converted
                ],
                "aliases": own,
            },
        )
    else:
        console.write(inventory_table(cached, own, converted))


def show(
    console: Console,
    name: Name,
    as_json: AsJson = False,
    offline: flags.Offline = False,
) -> None:
    """Show what is known about a model, without loading it.

    hfgen models show gpt2
    """
    from hfgen.models.sizing.info import describe

    with console.isolated():
        facts = describe(name, offline=offline, progress=console.status)
        if as_json:
            record = dataclasses.asdict(facts)
            record |= {"memory_bytes": facts.memory_bytes, "unknown": facts.unknown}
            _write_json(console, record)
        else:
            console.write(described(facts))


def pull(
    console: Console,
    name: Name,
    as_json: AsJson = False,
    offline: flags.Offline = False,
) -> None:
    """Fetch a model, or its newest version; what is here already is checked.

    hfgen models pull gpt2
    hfgen models pull EleutherAI/pythia-70m@step3000

    Only the files that are needed are fetched. Whatever interrupts it, the next run goes on where
    it stopped. Every file is checked against its hash.
    """
    from hfgen.cli.io.download_bars import showing_progress

    with showing_progress(console) as (progress, watch), console.isolated():
        try:
            done = local.pull(name, offline=offline, progress=progress, watch=watch)
        except (KeyboardInterrupt, Terminated) as error:
            error.add_note("what was fetched is kept: the same command resumes where it stopped")
            raise
    for notice in done.notices:
        console.notice(notice)
    if as_json:
        record = dataclasses.asdict(done)
        _write_json(console, record | {"path": str(done.path), "notices": list(done.notices)})
    else:
        console.write(pulled_line(done))


def remove(
    console: Console,
    name: Name,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and leave it.")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a model from the cache, or what a GGUF file was converted to.

    hfgen models rm gpt2-xl --dry-run
    hfgen models rm smollm2.gguf
    """
    with console.isolated():
        removal = local.plan_removal(name)
        what = f"{removal.repo_id} ({in_bytes(removal.size_bytes)}, {removal.folder})"
        if not dry_run:
            if not yes:
                ask(console, f"remove {what}?")
            removal.execute()
        record = {
            "repo_id": removal.repo_id,
            "size_bytes": removal.size_bytes,
            "commits": list(removal.commits),
            "path": str(removal.folder),
            "removed": not dry_run,
        }
        if as_json:
            _write_json(console, record)
        else:
            console.write(f"{'would remove' if dry_run else 'removed'} {what}\n")


def alias(
    console: Console,
    assignment: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME=MODEL",
            help="A new name for a model. Without it, your aliases are listed.",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Forget one of your aliases.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List, set or forget your own names for models.

    hfgen models alias poet=me/gpt2-poems
    hfgen models alias draft=./checkpoint-500
    hfgen models alias --remove poet
    """
    if assignment is not None and remove is not None:
        raise OptionConflict("an alias is set and another removed", hint="do one at a time")
    if remove is not None:
        own_aliases.remove_alias(remove)
    elif assignment is not None:
        name, equals, model = assignment.partition("=")
        if not equals:
            raise UsageError(
                f"{flags.shortened(assignment)} is not NAME=MODEL",
                hint="hfgen models alias poet=me/gpt2-poems",
            )
        own_aliases.set_alias(name.strip(), model)
    own = own_aliases.user_aliases()
    if as_json:
        _write_json(console, own)
    elif assignment is None and remove is None:
        console.write("".join(f"{name} = {model}\n" for name, model in own.items()))
        if not own:
            console.detail("you have no aliases yet: hfgen models alias NAME=MODEL makes one")


def _write_json(console: Console, value: Any) -> None:
    console.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _entry_record(entry: catalogue.Entry) -> dict[str, Any]:
    record = dataclasses.asdict(entry)
    record["legacy_ids"] = list(entry.legacy_ids)
    file = packaged_file(entry)
    return record | {"packaged_file": None if file is None else str(file)}


def _cached_record(model: local.CachedModel) -> dict[str, Any]:
    record = dataclasses.asdict(model)
    return record | {"path": None if model.path is None else str(model.path)}


app = command_group(
    "The catalogue of models, and those on this machine.",
    {"list": list_models, "show": show, "pull": pull, "rm": remove, "alias": alias},
)
