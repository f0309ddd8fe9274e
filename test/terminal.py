"""Runs a command at a terminal of 80 columns: standard input is typed, standard output is what the terminal gets.

    python3 terminal.py COMMAND ARGUMENT...

Ends with the command's exit code. When standard input ends, the terminal is hung up, as a window that is closed.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios

ROWS, COLUMNS = 40, 80

child, terminal = pty.fork()
if child == 0:
    # Before the command looks for it.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])

is_open = True
while is_open:
    ready, _, _ = select.select([terminal, 0], [], [])
    if terminal in ready:
        try:
            shown = os.read(terminal, 65536)
        except OSError:
            # Linux's word for a terminal that nobody is at any more.
            shown = b""
        if shown == b"":
            break
        os.write(1, shown)
    if 0 in ready:
        typed = os.read(0, 65536)
        if typed == b"":
            is_open = False
        else:
            os.write(terminal, typed)
os.close(terminal)
_, status = os.waitpid(child, 0)
code = os.waitstatus_to_exitcode(status)
# As shells say by which signal a command ended.
sys.exit(code if code >= 0 else 128 - code)
