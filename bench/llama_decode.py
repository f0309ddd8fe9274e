"""Tokens a second that llama.cpp decodes: one number on stdout. See peers.js.

    python bench/llama_decode.py FILE.gguf [--prompt 128] [--steps 96] [--threads 2]          llama-cpp-python and NumPy
"""

import argparse
import ctypes
import time

import llama_cpp
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--prompt", type=int, default=128)
parser.add_argument("--steps", type=int, default=96)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()


@llama_cpp.llama_log_callback
def silent(*_) -> None:
    pass


llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(options.file.encode(), llama_cpp.llama_model_default_params())
settings = llama_cpp.llama_context_default_params()
settings.n_ctx = options.prompt + options.steps + 8
settings.n_threads = settings.n_threads_batch = options.threads
vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))


def feed(context, tokens: list[int]) -> int:
    """The likeliest token after these."""
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) != 0:
        raise SystemExit("llama_decode failed")
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    return int(np.ctypeslib.as_array(logits, (vocab,)).argmax())


def decode() -> float:
    """Seconds for `steps` tokens after a prompt, whatever they are."""
    context = llama_cpp.llama_init_from_model(model, settings)
    token = feed(context, list(range(5, 5 + options.prompt)))
    started = time.perf_counter()
    for _ in range(options.steps):
        token = feed(context, [token])
    seconds = time.perf_counter() - started
    llama_cpp.llama_free(context)
    return seconds


decode()
print(options.steps / min(decode() for _ in range(3)))
