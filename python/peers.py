"""How fast another program decodes a model here, as JSON on stdout: what `lacuna bench --peers` compares with.

    python peers.py --probe                            prints the versions of the packages that are used
    python peers.py onnxruntime-genai FOLDER ...       a folder with genai_config.json; --model names another .onnx in it
    python peers.py llama.cpp FILE.gguf ...
                    [--prompt 128] [--steps 96] [--threads N]

A prompt of arbitrary tokens is read, and `steps` tokens are decoded after it; once to warm up, then three times, of which the
best counts.
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
    from llama_cpp import Llama

    model = Llama(
        options.path,
        n_ctx=options.prompt + options.steps + 1,
        n_threads=options.threads,
        n_threads_batch=options.threads,
        verbose=False,
    )

    def decode():
        model.reset()
        started = time.perf_counter()
        model.eval(prompt_of(options.prompt))
        token = model.sample(temp=0)
        read = time.perf_counter()
        for _ in range(options.steps):
            model.eval([token])
            token = model.sample(temp=0)
        return read - started, time.perf_counter() - read

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
