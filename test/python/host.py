"""Runs scripts one after another in one process, so that what they import is imported once.

Reads requests from stdin, a line of JSON each: "script", "args", and "input", which the script finds on its stdin. Answers each
with a line of JSON: "status", which is 0 where the script ended well, "stdout" and "stderr".
"""

import contextlib
import gc
import io
import json
import os
import runpy
import sys
import traceback


def main():
    requests = sys.stdin
    # What native code prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in requests:
        json.dump(answer(json.loads(line)), answers)
        answers.write("\n")
        answers.flush()


def answer(request):
    out, error = io.StringIO(), io.StringIO()
    sys.stdin = io.StringIO(request["input"])
    sys.argv = [request["script"], *request["args"]]
    folder = os.path.dirname(request["script"])
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = run(request["script"])
    # Models of the script, which may be large.
    gc.collect()
    return {"status": status, "stdout": out.getvalue(), "stderr": error.getvalue()}


def run(script):
    """The exit status, by Python's rules for what ends a program."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
