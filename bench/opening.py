"""The time that registering our library adds to opening a session of an empty model, in milliseconds.

    python bench/opening.py LIBRARY [--rounds 20]

Sessions with and without the library take turns. Prints the medians and their difference. Needs onnxruntime. The model
is built by hand here, so onnx is not needed.
"""

import argparse
import statistics
import time

import onnxruntime

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("library")
parser.add_argument("--rounds", type=int, default=20)
options = parser.parse_args()


def field(number, content):
    """A protobuf field: bytes with their length, or a number below 128."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


# y = Identity(x), floats of any length: IR version 10, opset 21.
FLOATS = field(2, field(1, field(1, 1) + field(2, field(1, field(2, b"n")))))
NODE = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
GRAPH = field(1, NODE) + field(2, b"g") + field(11, field(1, b"x") + FLOATS) + field(12, field(1, b"y") + FLOATS)
MODEL = field(1, 10) + field(7, GRAPH) + field(8, field(2, 21))


def opened(library):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    started = time.perf_counter()
    if library:
        settings.register_custom_ops_library(library)
    onnxruntime.InferenceSession(MODEL, settings)
    return 1000 * (time.perf_counter() - started)


for warm_up in (None, options.library):
    opened(warm_up)
pairs = [(opened(None), opened(options.library)) for _ in range(options.rounds)]
without, with_library = (statistics.median(times) for times in zip(*pairs))
added = statistics.median(b - a for a, b in pairs)
print(f"onnxruntime {onnxruntime.__version__}: {without:.2f} ms, with the library {with_library:.2f} ms: {added:.2f} ms more")
