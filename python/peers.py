"""How fast another program decodes a model here, as JSON on stdout, for `lacuna bench --peers`.

    python peers.py --probe                            prints the versions of the packages that are used
    python peers.py onnxruntime-genai FOLDER ...       a folder with genai_config.json; --model names another .onnx in it
    python peers.py llama.cpp FILE.gguf ...
                    [--prompt 128] [--steps 96] [--threads N]

It reads a prompt of arbitrary tokens and decodes `steps` tokens after it: once to warm up, then three times. The best
run counts.
"""

import argparse
import importlib.metadata
import json
import os
import time

PACKAGES = {"onnxruntime-genai": "onnxruntime-genai", "llama.cpp": "llama-cpp-python"}
REPEATS = 3
# Below the end of any vocabulary, and above the special tokens that most begin with.
TOKENS = range(32, 160)


def version_of(peer):
    try:
        return importlib.metadata.version(PACKAGES[peer])
    except importlib.metadata.PackageNotFoundError:
        return None


def genai(options):
    import numpy as np
    import onnxruntime_genai as og

    config = og.Config(options.path)
    decoder = {"session_options": {"intra_op_num_threads": options.threads, "inter_op_num_threads": 1}}
    if options.model:
        decoder["filename"] = options.model
    config.overlay(json.dumps({"model": {"decoder": decoder}}))
    model = og.Model(config)
    length = options.prompt + options.steps + 1

    def decode():
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=length, min_length=length)
        generator = og.Generator(model, params)
        started = time.perf_counter()
        generator.append_tokens(np.array(prompt_of(options.prompt), np.int32))
        generator.generate_next_token()
        read = time.perf_counter()
        for _ in range(options.steps):
            generator.generate_next_token()
        return read - started, time.perf_counter() - read

    return decode


def llama(options):
    """By its C interface, which also opens files without a tokenizer."""
    import ctypes

    import llama_cpp
    import numpy as np

    global silent  # The library calls it as long as it lives.
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(options.path.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot open {options.path}")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = options.prompt + options.steps + 1
    settings.n_threads = settings.n_threads_batch = options.threads
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def feed(context, tokens):
        """The likeliest token after these."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) != 0:
            raise SystemExit("llama.cpp failed to decode")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return int(np.ctypeslib.as_array(logits, (vocab,)).argmax())

    def decode():
        context = llama_cpp.llama_init_from_model(model, settings)
        started = time.perf_counter()
        token = feed(context, prompt_of(options.prompt))
        read = time.perf_counter()
        for _ in range(options.steps):
            token = feed(context, [token])
        ended = time.perf_counter()
        llama_cpp.llama_free(context)
        return read - started, ended - read

    return decode


PEERS = {"onnxruntime-genai": genai, "llama.cpp": llama}


def prompt_of(count):
    return [TOKENS[i % len(TOKENS)] for i in range(count)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", nargs="?", choices=PEERS)
    parser.add_argument("path", nargs="?")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.probe:
        print(json.dumps({peer: version_of(peer) for peer in PEERS}))
        return
    decode = PEERS[options.peer](options)
    decode()
    times = [decode() for _ in range(REPEATS)]
    figures = {
        "prefillTokensPerSecond": options.prompt / min(read for read, _ in times),
        "decodeTokensPerSecond": options.steps / min(decoded for _, decoded in times),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
