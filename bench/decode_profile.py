"""Where the time of a decoded token goes in ONNX Runtime: milliseconds and calls for each token, by operator.

    python bench/decode_profile.py FOLDER [--tokens 80] [--threads 2]      onnxruntime and NumPy

Profiling itself costs a microsecond or two for each operator, so many small ones look worse here than they are. The
products are right. `If` includes what its branches run.
"""

import argparse
import collections
import json
import tempfile
import time
from pathlib import Path

import numpy
import onnxruntime

PROMPT = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        events, seconds = decode(options, scratch)
    times, calls = collections.Counter(), collections.Counter()
    start = [event["ts"] for event in events if event["name"] == "model_run"][-options.tokens]
    for event in events:
        if event.get("cat") == "Node" and event["ts"] >= start and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
            calls[event["args"]["op_name"]] += 1
    print(f"median {1e3 * numpy.median(seconds):.2f} ms a token, profiled")
    for name, micros in times.most_common(20):
        print(f"{name:34s} {micros / options.tokens / 1e3:8.3f} ms {calls[name] / options.tokens:7.1f} calls")


def decode(options: argparse.Namespace, scratch: str) -> tuple[list[dict], list[float]]:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.enable_profiling = True
    settings.profile_file_prefix = str(Path(scratch) / "profile")
    session = onnxruntime.InferenceSession(str(options.folder / "onnx/model.onnx"), settings)
    names = [output.name for output in session.get_outputs()]
    caches = [one for one in session.get_inputs() if one.name.startswith("past")]
    past = {one.name: numpy.zeros((1, one.shape[1], 0, one.shape[3]), numpy.float32) for one in caches}
    ids = numpy.random.default_rng(0).integers(0, 1000, PROMPT + options.tokens)
    seconds = []
    for end in range(PROMPT, len(ids) + 1):
        feed = ids[:PROMPT] if end == PROMPT else ids[end - 1 : end]
        mask = numpy.ones((1, end), numpy.int64)
        started = time.perf_counter()
        results = session.run(None, {"input_ids": feed[None].astype(numpy.int64), "attention_mask": mask, **past})
        seconds.append(time.perf_counter() - started)
        found = dict(zip(names, results))
        past = {one.name: found[one.name.replace("past_key_values", "present")] for one in caches}
    return json.loads(Path(session.end_profiling()).read_text()), seconds[1:]


if __name__ == "__main__":
    main()
