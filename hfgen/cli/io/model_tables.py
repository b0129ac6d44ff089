"""How models look as text: the inventory, one model's facts, one download's outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hfgen.models.gguf.conversions import Conversion
from hfgen.models.hub.local import CachedModel, Pulled
from hfgen.models.naming import catalogue
from hfgen.models.naming.packaged import install_command, packaged_file
from hfgen.models.sizing.quantities import in_bytes, in_short

if TYPE_CHECKING:
    from hfgen.models.sizing.info import ModelFacts

_NOT_HERE = "-"
_WORDS = {"has_template": "chat template", "disk_bytes": "size on disk"}


def inventory_table(
    cached: Sequence[CachedModel], own: Mapping[str, str], converted: Sequence[Conversion] = ()
) -> str:
    """The catalogue, cached models outside it, converted GGUF files, the user's aliases."""
    by_repo = {model.repo_id: model for model in cached}
    rows = [("NAME", "PARAMETERS", "CONTEXT", "KIND", "LICENCE", "CACHED", "MODEL")]
    listed = set()
    for entry in catalogue.CATALOGUE.values():
        ids = (entry.repo_id, *entry.legacy_ids)
        model = next((by_repo[repo_id] for repo_id in ids if repo_id in by_repo), None)
        if model is not None:
            listed.add(model.repo_id)
        here = "bundled" if entry.is_bundled else _packaged(entry) or _here(model)
        meant = entry.repo_id or entry.note
        if entry.stands_in_for:
            meant = f"{meant}, in place of {entry.stands_in_for}"
        if entry.is_gated:
            meant = f"{meant}, gated (HF_TOKEN)"
        rows.append(
            (
                entry.alias, in_short(entry.parameters), str(entry.window), entry.kind,
                entry.licence, here, meant,
            )
        )  # fmt: skip
    text = _columns(rows)
    if others := [model for model in cached if model.repo_id not in listed]:
        text += "\nalso in the cache\n"
        text += _columns([(model.repo_id, _here(model), model.problem or "") for model in others])
    if converted:
        text += "\nconverted GGUF files\n"
        text += _columns([(one.name, in_bytes(one.size_bytes), one.key) for one in converted])
    if own:
        text += "\nyour aliases\n"
        text += _columns([(name, model) for name, model in own.items()])
    return text


def described(facts: ModelFacts) -> str:
    """One model's facts, a line each; unknown ones in the last line."""
    shape = " x ".join(
        f"{value:,} {name}"
        for name, value in (
            ("layers", facts.layers),
            ("width", facts.width),
            ("heads", facts.heads),
        )
        if value is not None
    )
    memory = facts.memory_bytes
    rows: list[tuple[str, object]] = [
        ("name", facts.name),
        ("stands in for", facts.stands_in_for and f"{facts.stands_in_for}: {facts.why}"),
        ("model", facts.repo_id),
        ("revision", facts.revision),
        ("where", _where(facts)),
        ("access", facts.is_gated and _access(facts)),
        ("problem", facts.problem),
        ("kind", facts.kind),
        ("note", facts.note),
        ("architecture", facts.architecture and facts.architecture + (shape and f", {shape}")),
        ("vocabulary", facts.vocabulary and f"{facts.vocabulary:,} tokens"),
        ("window", facts.window and f"{facts.window:,} tokens"),
        ("parameters", facts.parameters and f"{facts.parameters:,}"),
        ("memory", memory and ", ".join(f"{in_bytes(n)} as {name}" for name, n in memory.items())),
        ("disk", facts.disk_bytes and in_bytes(facts.disk_bytes)),
        ("files", ", ".join(f"{count} {kind}" for kind, count in sorted(facts.files.items()))),
        ("chat template", {True: "yes", False: "no", None: None}[facts.has_template]),
        ("licence", facts.licence),
        ("unknown", ", ".join(_WORDS.get(name, name) for name in facts.unknown)),
    ]
    return "".join(f"{name + ':':<15}{value}\n" for name, value in rows if value)


def pulled_line(done: Pulled) -> str:
    """One line on a model that was fetched."""
    state = "already cached, verified" if done.was_here else "downloaded"
    commit = f"@{done.commit[:8]}" if done.commit else ""
    what = done.name if done.repo_id in (None, done.name) else f"{done.name} ({done.repo_id})"
    return f"{what}{commit} {state}: {in_bytes(done.size_bytes)} in {done.path}\n"


def _where(facts: ModelFacts) -> str:
    if facts.where == "bundled":
        return f"bundled with hfgen, {facts.path}"
    if facts.path is not None:
        return facts.path
    entry = catalogue.find(facts.name)
    command = entry and install_command(entry)
    other = f", or {command}" if command else ""
    return f"not on this machine (hfgen models pull {facts.name}{other})"


def _access(facts: ModelFacts) -> str:
    page = f"https://huggingface.co/{facts.repo_id}"
    return f"gated: accept its terms at {page}, then set HF_TOKEN (or: hf auth login)"


def _here(model: CachedModel | None) -> str:
    if model is None:
        return _NOT_HERE
    return in_bytes(model.size_bytes) + (" incomplete" if model.problem else "")


def _packaged(entry: catalogue.Entry) -> str | None:
    file = packaged_file(entry)
    return None if file is None else f"{in_bytes(file.stat().st_size)} ({entry.package})"


def _columns(rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )
