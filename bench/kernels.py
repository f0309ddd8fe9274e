"""Times models of FFN blocks in ONNX Runtime, by their bodies and by a library's kernels, taking turns. See kernels.ts.

    python bench/kernels.py FOLDER --library FILE --layers N --hidden N [--threads 2] [--rounds 30]
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy
import onnxruntime
from perplexity import open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--library", required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    names = sorted((path.name for path in options.folder.iterdir()), key=lambda name: (name != "dense", name))
    kinds = [(name, library) for name in names for library in ([None] if name == "dense" else [None, options.library])]
    sessions = [open_session(options.folder / name / "model.onnx", options.threads, library) for name, library in kinds]
    x = numpy.random.default_rng(1).uniform(-0.25, 0.25, (1, 1, options.hidden)).astype(numpy.float32)
    times: list[list[float]] = [[] for _ in sessions]
    for turn in range(options.rounds + 1):
        for session, taken in zip(sessions, times):
            start = time.perf_counter()
            session.run(None, {"x": x})
            # The first round allocates.
            if turn > 0:
                taken.append((time.perf_counter() - start) / options.layers)
    print(f"onnxruntime {onnxruntime.__version__}, {options.threads} threads, {options.folder.name}\n")
    print("| block | by | ms a block and token | dense / this |\n|---|---|---|---|")
    for (name, library), taken in zip(kinds, times):
        ratio = statistics.median(dense / this for dense, this in zip(times[0], taken))
        print(f"| {name} | {'kernel' if library else 'body'} | {1e3 * statistics.median(taken):.3f} | {ratio:.2f} |")
    print()


if __name__ == "__main__":
    main()
