"""The client of tests/warm.py: it stands for a Python. It imports next to nothing, to be quick."""

import _signal
import _socket
import os
import sys

# VALUES
SIGNALS = [_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGUSR1]


def cold(arguments):
    os.execv(PYTHON, [PYTHON, *arguments])  # noqa: F821


def main():
    arguments = [*PREFIX, *sys.argv[1:]]  # noqa: F821
    streams = _streams()
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(SOCKET)  # noqa: F821
    except OSError:
        cold(arguments)
    folder = os.open(".", os.O_RDONLY)
    umask = os.umask(0)
    ignored = [number for number in SIGNALS if _signal.getsignal(number) == _signal.SIG_IGN]
    for number in set(SIGNALS) - set(ignored):
        _signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    request = repr(
        ([os.fsencode(word) for word in arguments], dict(os.environb), streams, umask, ignored)
    ).encode()
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (folder, *streams))
    head = len(request).to_bytes(8, "little")
    connection.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    connection.sendall(request)
    answer = connection.recv(4)
    status = int.from_bytes(answer, "little", signed=True)
    if not answer:
        status = -_signal.SIGKILL
    elif answer == b"cold":
        os.umask(umask)
        for number in set(SIGNALS) - set(ignored):
            _signal.signal(number, _signal.SIG_DFL)
        cold(arguments)
    if status < 0:
        if status != -_signal.SIGKILL:
            _signal.signal(-status, _signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _streams():
    """The descriptors that a program that was started here would inherit."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (quick)
        try:
            if os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:  # the one of the folder itself
            pass
    return found


main()
