"""The server of tests/warm.py: it imports the libraries, and forks for each command that comes."""

from __future__ import annotations

import ast
import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

# By these another program than ours would come of it: it is to run cold.
_PYTHONS = (
    "PYTHON", "LC_", "LANG", "OMP_", "MKL_", "CUDA", "TZ", "TRANSFORMERS_", "LD_", "HF_ENDPOINT",
)  # fmt: skip
# Tests have the first two as they like, and main() sets them; a fork follows the third.
_FREE = ("TRANSFORMERS_VERBOSITY", "TRANSFORMERS_NO_ADVISORY_WARNINGS", "PYTHONPATH")
_TYPER = (
    "typer.rich_utils", "typer._adapters", "pydantic.type_adapter", "hfgen.cli.program",
    "hfgen.cli.flags", "hfgen.cli.commands.generate", "hfgen.cli.commands.finetune",
)  # fmt: skip
_PACKAGES = ("hfgen", "hfgen.cli.program", "hfgen.cli.flags")
_TORCH = (
    "torch", "hfgen", "transformers.models.gpt2.modeling_gpt2", "transformers.generation.utils",
    "transformers.models.auto.tokenization_auto", "transformers.convert_slow_tokenizer",
    "transformers.trainer", "accelerate", "peft",
)  # fmt: skip


def settings(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What of an environment an interpreter and its libraries read before they run anything."""
    prefixes = tuple(prefix.encode() for prefix in _PYTHONS)
    free = [name.encode() for name in _FREE]
    found = {b"OMP_NUM_THREADS": b"1"}  # as in every test, said or not
    return found | {
        name: value
        for name, value in environment.items()
        if name.startswith(prefixes) and name not in free
    }


class Server:
    """Forks for each client, passes its signals on, and tells it how the fork ended."""

    def __init__(self, path: str, environment: dict[bytes, bytes]) -> None:
        self.settings = settings(environment)
        self.hub = hub_settings(environment)
        self.imported = {n: v for n, v in os.environb.items() if n not in environment}
        """What libraries have set when they were imported."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path + ".new")
        self.listener.listen(64)
        Path(path + ".new").rename(path)
        self.selector = selectors.DefaultSelector()
        self.pids: dict[socket.socket, int] = {}
        self.selector.register(0, selectors.EVENT_READ, self.end)  # whoever started us is gone
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self.selector.select():
                key.data()

    def end(self) -> NoReturn:
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        head, files, _, _ = socket.recv_fds(connection, 8, 250)
        size, request = int.from_bytes(head, "little"), b""
        while len(request) < size and (part := connection.recv(size - len(request))):
            request += part
        if len(head) < 8 or len(request) < size:  # killed meanwhile
            connection.close()
            return self.close(files)
        arguments, environment, streams, umask, ignored = ast.literal_eval(request.decode())
        if settings(environment) != self.settings or b"--debug" in arguments:
            connection.sendall(b"cold")
            connection.close()
            return self.close(files)
        pid = os.fork()
        if not pid:
            become(self, connection, files, streams, umask, ignored, environment)
            run([os.fsdecode(word) for word in arguments])
        self.close(files)
        self.pids[connection] = pid
        handle = os.pidfd_open(pid)
        self.selector.register(handle, selectors.EVENT_READ, lambda: self.ended(connection, handle))
        self.selector.register(
            connection, selectors.EVENT_READ, lambda: self.signal(connection, handle)
        )
        return None

    def signal(self, connection: socket.socket, handle: int) -> None:
        """Pass signals on; a client that is gone was killed."""
        numbers = b""
        with contextlib.suppress(ConnectionError):
            numbers = connection.recv(16)
        for number in numbers or (signal.SIGKILL,):
            signal.pidfd_send_signal(handle, number)
        if not numbers:
            self.selector.unregister(connection)

    def ended(self, connection: socket.socket, handle: int) -> None:
        _, status = os.waitpid(self.pids.pop(connection), 0)
        self.selector.unregister(handle)
        os.close(handle)
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        with contextlib.suppress(ConnectionError):
            code = os.waitstatus_to_exitcode(status)
            connection.sendall(code.to_bytes(4, "little", signed=True))
        connection.close()

    @staticmethod
    def close(files: list[int]) -> None:
        for file in files:
            os.close(file)


def become(
    server: Server, connection: socket.socket, files: list[int], streams: list[int], umask: int,
    ignored: list[int], environment: dict[bytes, bytes],
) -> None:  # fmt: skip
    """Have the client's streams, folder, environment and signals."""
    for other in (server.listener, server.selector, connection, *server.pids):
        other.close()
    os.fchdir(files[0])
    os.umask(umask)
    given = [fcntl.fcntl(file, fcntl.F_DUPFD, 500) for file in files[1:]]  # out of the way
    Server.close([0, 1, 2, *files])
    for number, file in zip(streams, given, strict=True):
        os.dup2(file, number)
    Server.close(given)
    os.environb.clear()
    os.environb.update(server.imported | environment)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (None, signal.SIG_DFL):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, *ignored):
        signal.signal(number, signal.SIG_IGN)
    stream(0, "stdin", streams, "strict")
    stream(1, "stdout", streams, "strict")
    stream(2, "stderr", streams, "backslashreplace")
    if hub_settings(environment) != server.hub:
        follow_hub_settings()


def stream(number: int, name: str, streams: list[int], errors: str) -> None:
    """A standard stream as the interpreter makes it."""
    made = None
    if number in streams:
        raw = io.FileIO(number, "wb" if number else "rb", closefd=False)
        buffer = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
        made = io.TextIOWrapper(
            buffer, "utf-8", errors, line_buffering=number == 2 or os.isatty(number)
        )
        made.mode = "w" if number else "r"  # type: ignore[attr-defined]
    setattr(sys, name, made)
    setattr(sys, f"__{name}__", made)


def hub_settings(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    names = (b"HF_", b"HOME", b"XDG_", b"HUGGING")
    return {name: value for name, value in environment.items() if name.startswith(names)}


def follow_hub_settings() -> None:
    """The Hub's library reads its settings once: have it, and who copied them, read them again."""
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is None:
        return
    before = dict(vars(constants))
    importlib.reload(constants)
    changed = {
        name: (before[name], value)
        for name, value in vars(constants).items()
        if name.isupper() and name in before and before[name] != value
    }
    for module in list(sys.modules.values()):
        for name, (old, new) in changed.items():
            if vars(module).get(name) == old:
                setattr(module, name, new)


def run(arguments: list[str]) -> NoReturn:
    """Do as `python ARGUMENTS` does, and end the process."""
    code: Any = 0
    try:
        first, *rest = arguments
        if first in ("-m", "-c"):
            what, *rest = rest
        sys.argv = [first if first != "-m" else what, *rest]
        sys.path.insert(0, str(Path(first).absolute().parent) if first[0] != "-" else "")
        sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        if first == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif first == "-c":
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_path(first, run_name="__main__")
    except SystemExit as error:
        code = error.code
    except BaseException as error:  # noqa: BLE001
        traceback.print_exc()
        code = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            output.flush()
    os._exit(code or 0)


def import_all(names: tuple[str, ...]) -> None:
    """Import modules, and of packages of hfgen all that is in them."""
    for name in names:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if name in _PACKAGES:
                inside = pkgutil.walk_packages(module.__path__, name + ".")
                import_all(tuple(m.name for m in inside if not m.name.endswith("__main__")))


def main() -> NoReturn:
    path, imported = sys.argv[1:]
    environment = dict(os.environb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_all(_TYPER)
        if imported == "torch":
            import_all(_TORCH)
            from transformers.conversion_mapping import get_checkpoint_conversion_mapping

            get_checkpoint_conversion_mapping("gpt2")  # it compiles a thousand expressions, once
    atexit._clear()
    gc.freeze()
    server = Server(path, environment)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    server.serve()


main()
