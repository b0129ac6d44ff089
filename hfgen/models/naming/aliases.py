"""The user's own short names for models: a small JSON file in hfgen's configuration folder.

`{"poet": "me/gpt2-poems", "draft": "/home/me/checkpoint-500"}`. An alias of the catalogue cannot
be given another meaning, and an alias cannot name an alias of the user's own, so that following
one is a single step. The file is written aside and renamed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from hfgen.atomic import write_whole
from hfgen.claims import changing
from hfgen.config_file import FOLDER_VARIABLE, config_folder
from hfgen.errors import HfgenError, InvalidOption, ModelNotFound, OutputError, UsageError
from hfgen.models.naming import catalogue
from hfgen.models.naming.names import WEIGHTS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_FORM = "letters, digits, -, _ and ., at most 64, and no name of a file"


def alias_file() -> Path:
    """Return the file that holds the aliases, which need not be there."""
    return config_folder() / "aliases.json"


def user_aliases() -> dict[str, str]:
    """Return the user's aliases and what they stand for; `HfgenError` when the file is broken."""
    file = alias_file()
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}", hint="check who may read it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _broken(file, "is no valid JSON") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _broken(file, "does not hold names and models")
    return dict(sorted(found.items()))


def find_alias(name: str) -> str | None:
    """Return what the user's alias of that name stands for; None when there is none.

    Written in another case it is the same, unless a folder has the very name. The file is not
    looked at for what cannot be an alias, nor for aliases of the catalogue.
    """
    if not _NAME.fullmatch(name) or name in catalogue.CATALOGUE:
        return None
    own = user_aliases()
    if name in own or Path(name).is_dir():
        return own.get(name)
    return {alias.casefold(): model for alias, model in own.items()}.get(name.casefold())


def set_alias(name: str, model: str) -> str:
    """Have `name` stand for `model`, and return the model as it is stored.

    A folder is stored with its full path. Raises `InvalidOption` or `UsageError` when that cannot
    be, and `OutputError` when the file cannot be written.
    """
    if not _NAME.fullmatch(name) or name.lower().endswith(WEIGHTS):
        raise InvalidOption("alias", name, _FORM)
    if name in catalogue.CATALOGUE:
        raise UsageError(
            f"{name} is an alias of the catalogue ({catalogue.CATALOGUE[name].summary})",
            hint=f"choose another name: hfgen models alias my-{name}={model or name}",
        )
    model = model.strip()
    if not model or "\0" in model:
        raise InvalidOption("model", model, "an alias of the catalogue, a Hub id or a folder")
    with changing(alias_file()):
        own = user_aliases()
        if model in own or model == name:
            raise UsageError(
                f"{model} is an alias of your own, and an alias cannot name another",
                hint=f"hfgen models alias {name}={own.get(model, 'MODEL')}",
            )
        model = _absolute(model)
        _write({**own, name: model})
    return model


def remove_alias(name: str) -> str:
    """Forget the user's alias `name`, and return what it stood for."""
    with changing(alias_file()):
        own = user_aliases()
        if name not in own:
            if name in catalogue.CATALOGUE:
                raise UsageError(
                    f"{name} is an alias of the catalogue and stays", hint="hfgen models alias"
                )
            near = catalogue.suggest(name, own)
            hint = f"did you mean {near}?" if near in own else "hfgen models alias lists them"
            raise ModelNotFound(f"there is no alias {name!r} of your own", hint=hint)
        model = own.pop(name)
        _write(own)
    return model


def _absolute(model: str) -> str:
    """A folder's full path: the alias is to mean the same wherever it is used."""
    is_written_as_path = model.startswith((".", "~")) or model.endswith(("/", os.sep))
    path = Path(model).expanduser() if model.startswith("~") else Path(model)
    is_name = model in catalogue.CATALOGUE
    if is_written_as_path or (not is_name and (path / "config.json").is_file()):
        return str(path.absolute())
    return model


def _write(aliases: dict[str, str]) -> None:
    file = alias_file()
    text = json.dumps(dict(sorted(aliases.items())), indent=2, ensure_ascii=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode("utf-8"), mode=0o600)
    except OSError as error:
        raise OutputError(
            f"cannot write {file}: {error.strerror}",
            hint=f"check who may write there, or set {FOLDER_VARIABLE} to another folder",
        ) from error


def _broken(file: Path, problem: str) -> HfgenError:
    return HfgenError(f"{file} {problem}", hint="correct the file, or delete it")
