"""Start `senderid` by forking a process that has imported it, which saves the time of the imports.

With the path of a socket, a package and its arguments, this script is the client: it passes its streams, folder and
environment to the server, and ends as the command ends. With the path alone, it is the server. `request` is a client
without a process of its own.
"""

# ruff: noqa: PLC0415, PTH104, PTH109 - the client must start fast, so it imports almost nothing
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence

ANNOUNCE = "FORKSERVERANNOUNCE"
"""Names a file descriptor that takes the process id of the command."""


def request(
    path: str,
    arguments: Sequence[str],
    *,
    folder: str,
    environment: Mapping[str, str],
    streams: Sequence[int] = (0, 1, 2),
    timeout: float | None = None,
    announce: Callable[[bytes], object] = len,
) -> int:
    r"""Run the command on the server. Return the status of `os.waitpid`. `announce` is called with the process id.

    Raises:
        TimeoutError: the command did not end in time; it is killed.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        message = json.dumps([arguments, folder, dict(environment)]).encode(errors="surrogatepass")
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], list(streams))
        connection.sendall(message)
        announce(connection.recv(4))
        response = connection.recv(4)
    return int.from_bytes(response, "big") if response else signal.SIGKILL


def _end_like(status: int) -> None:
    """End this process with a status of `os.waitpid`, by the same signal if a signal ended the command."""
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) != signal.SIGKILL:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _serve(path: str) -> None:
    """Serve requests until the process is killed. Return only in the process that is to run the command.

    Report the status of each command. Kill a command whose client disconnects.
    """
    import select

    # the tests may run with ignored signals, as under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    running: dict[int, tuple[int, socket.socket]] = {}
    """The command and the connection of each client, by a file descriptor of the command's process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + ".new")
        listener.listen(64)
        os.rename(path + ".new", path)
        while True:
            clients = [connection.fileno() for _, connection in running.values()]
            ready = select.select([listener.fileno(), *running, *clients], [], [])[0]
            for process, (command, connection) in list(running.items()):
                if connection.fileno() in ready and process not in ready:
                    os.kill(command, signal.SIGKILL)
                if connection.fileno() in ready or process in ready:
                    status = os.waitpid(command, 0)[1]
                    with contextlib.suppress(OSError):
                        connection.sendall(status.to_bytes(4, "big"))
                    connection.close()
                    os.close(process)
                    del running[process]
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                command = _fork(connection)
                if command == 0:
                    break
                running[os.pidfd_open(command)] = command, connection
    for process, (_, connection) in running.items():
        connection.close()
        os.close(process)


def _fork(connection: socket.socket) -> int:
    """Fork the command of a request. Return its process id, or 0 in the process that is to run it."""
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    body = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    command = os.fork()
    if command == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        arguments, folder, environment = json.loads(body)
        sys.argv[1:] = arguments
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
    else:
        with contextlib.suppress(OSError):
            connection.sendall(command.to_bytes(4, "big"))
    for stream in streams:
        os.close(stream)
    return command


def _import_everything() -> None:
    """Import every module that a command may import."""
    import importlib
    import pkgutil

    import worker

    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _prepare() -> None:
    """Do once what each command would do: imports, and what they cause in the garbage collector and in coverage."""
    import gc
    import inspect

    import coverage  # noqa: F401

    _import_everything()
    inspect.stack()  # finds and remembers the file of every module
    gc.collect()
    gc.freeze()


def _run(package: str) -> None:
    """Run `python -m package`, with coverage if the environment asks for it.

    The process ends without freeing its objects one by one: that would copy most of the memory that it shares.
    """
    if any(name.startswith("COV") for name in os.environ):
        import coverage

        coverage.process_startup(force=True)
    import atexit
    import runpy
    import threading

    try:
        runpy.run_module(package, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        threading._shutdown()  # type: ignore[attr-defined] # waits for the other threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


if __name__ == "__main__":
    if sys.argv[2:]:
        announced = int(os.environ.pop(ANNOUNCE, "2"))
        _end_like(
            request(
                sys.argv[1],
                sys.argv[2:],
                folder=os.getcwd(),
                environment=os.environ,
                announce=lambda pid: announced > 2 and os.write(announced, pid),
            )
        )
    _prepare()
    _serve(sys.argv[1])
    _run(sys.argv.pop(1))
