"""Runs scripts as Python does, in children of a process that has PyTorch and Transformers loaded: importing them takes seconds.

    python warm.py serve SOCKET                 until its standard input ends
    python warm.py run SOCKET SCRIPT [ARG...]   as `python SCRIPT [ARG...]`, by the process that serves
"""

import json
import os
import signal
import socket
import sys
import time

# Of a process that begins to serve.
PATIENCE_SECONDS = 120
MOST_BYTES = 1 << 16


def serve(path):
    import select

    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, LlamaForCausalLM  # noqa: F401

    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        # Whoever sees the socket may connect.
        server.bind(path + ".new")
        server.listen()
        os.rename(path + ".new", path)
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = server.accept()
            if os.fork() == 0:
                answer(connection)
            connection.close()


def answer(connection):
    """Runs the script of one request, with the streams of the process that asks. Does not return."""
    from host import run

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(connection, MOST_BYTES, 2)
    script, *rest = json.loads(request)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    sys.argv = [script, *rest]
    status = run(script)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([status]))
    os._exit(status)


def ask(path, request):
    """The exit status of a script; 1 where the process that serves ended."""
    with socket.socket(socket.AF_UNIX) as connection:
        connect(connection, path)
        socket.send_fds(connection, [json.dumps(request).encode()], [1, 2])
        status = connection.recv(1)
        return status[0] if status else 1


def connect(connection, path):
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3:]))
