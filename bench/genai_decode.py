"""Tokens a second that onnxruntime-genai decodes: one number on stdout. See decode.js.

    python bench/genai_decode.py FOLDER [--prompt 128] [--steps 96] [--threads 2]
"""

import argparse
import time

import numpy as np
import onnxruntime_genai as og

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--prompt", type=int, default=128)
parser.add_argument("--steps", type=int, default=96)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()

config = og.Config(options.folder)
config.overlay(
    '{"model": {"decoder": {"session_options": {"intra_op_num_threads": %d, "inter_op_num_threads": 1}}}}' % options.threads
)
model = og.Model(config)


def decode() -> float:
    """Seconds for `steps` tokens after a prompt, whatever they are."""
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=options.prompt + options.steps + 1, min_length=options.prompt + options.steps + 1)
    generator = og.Generator(model, params)
    generator.append_tokens(np.arange(5, 5 + options.prompt, dtype=np.int32))
    generator.generate_next_token()
    started = time.perf_counter()
    for _ in range(options.steps):
        generator.generate_next_token()
    return time.perf_counter() - started


decode()
print(options.steps / min(decode() for _ in range(3)))
