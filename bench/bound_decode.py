"""Tokens a second that Python's onnxruntime decodes with caches bound once and written in place, as JSON.

    python bench/bound_decode.py FOLDER [--prompt 4000] [--steps 16] [--threads 2] [--library LIBRARY]

decode.js compares the native session with it. `--library` registers the operators' kernels. Needs numpy and
onnxruntime.
"""

import argparse
import json
import time

import numpy as np
import onnxruntime
from perplexity import Path, empty_caches, find_model, open_session

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--prompt", type=int, default=4000)
parser.add_argument("--steps", type=int, default=16)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--library")
options = parser.parse_args()

# Tokens in a call while the prompt is read. The scores of all of them with all earlier tokens are in memory at once.
CHUNK = 256
REPEATS = 3

session = open_session(find_model(options.folder), options.threads, options.library)
binding = session.io_binding()
capacity = options.prompt + options.steps * REPEATS + 1
for name, zeros in empty_caches(session, tokens=capacity).items():
    cache = onnxruntime.OrtValue.ortvalue_from_numpy(zeros, "cpu", 0)
    binding.bind_ortvalue_input(name, cache)
    binding.bind_ortvalue_output(name.replace("past_key_values", "present"), cache)


def feed(tokens, length):
    """Logits are bound anew, because their shape depends on the number of tokens."""
    binding.bind_cpu_input("input_ids", np.array([tokens], np.int64))
    binding.bind_cpu_input("attention_mask", np.ones((1, length + len(tokens)), np.int64))
    binding.bind_output("logits", "cpu")
    session.run_with_iobinding(binding)


length = 0
started = time.perf_counter()
while length < options.prompt:
    tokens = range(5 + length, 5 + min(length + CHUNK, options.prompt))
    feed(tokens, length)
    length += len(tokens)
prompt_seconds = time.perf_counter() - started


def decode() -> tuple[float, float]:
    """Seconds of the clock and of all threads' processors for the next tokens, whatever they are."""
    global length
    started, processors = time.perf_counter(), time.process_time()
    for _ in range(options.steps):
        feed([7], length)
        length += 1
    return time.perf_counter() - started, time.process_time() - processors


feed([7], length)
length += 1
times = [decode() for _ in range(REPEATS)]
figures = {
    "promptSeconds": prompt_seconds,
    "tokensPerSecond": options.steps / min(seconds for seconds, _ in times),
    "processorMillisecondsPerToken": 1000 * min(processors for _, processors in times) / options.steps,
}
print(json.dumps(figures))
