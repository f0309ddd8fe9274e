"""Perplexity of model folders, ours or other makers', in Python's onnxruntime, on the same windows of one text.

    python bench/perplexity.py TOKENIZER.json FOLDER... [--text fixtures/texts/test.txt] [--windows 10]

A folder has onnx/model.onnx or model.onnx; another model in it is given by its own .onnx file. Windows of 512 tokens,
without special tokens, from empty caches; all tokens but a window's first are scored: what `lacuna eval` measures in
mode "all". For the rounding of onnxruntime-genai:

    python -m onnxruntime_genai.models.builder -i CHECKPOINT -o FOLDER -p int4 -e cpu [--extra_options algo_config=k_quant]

Needs numpy, onnxruntime and tokenizers.
"""

import argparse
import math
import re
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

WINDOW = 512


def find_model(folder):
    if folder.suffix == ".onnx":
        return folder
    return next(path for path in (folder / "onnx/model.onnx", folder / "model.onnx") if path.exists())


def empty_caches(session, head_dim):
    """No tokens so far; `head_dim` where the graph leaves it open."""
    caches = {}
    for value in session.get_inputs():
        if not value.name.startswith("past_key_values."):
            continue
        heads, width = value.shape[1], value.shape[3]
        dtype = np.float16 if value.type == "tensor(float16)" else np.float32
        caches[value.name] = np.zeros((1, heads, 0, width if isinstance(width, int) else head_dim), dtype)
    return caches


def head_dim_of(folder):
    """genai_config.json names it, also in folders of its own builder."""
    if folder.suffix == ".onnx":
        folder = folder.parent.parent
    found = re.search(r'"head_size":\s*(\d+)', (folder / "genai_config.json").read_text())
    return int(found[1])


def negative_log_likelihood(logits, targets):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    chosen = logits[np.arange(len(targets)), targets]
    return float(np.sum(np.log(np.exp(logits).sum(axis=-1)) - chosen))


def perplexity(folder, windows):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(find_model(folder), options, providers=["CPUExecutionProvider"])
    caches = empty_caches(session, head_dim_of(folder))
    total = 0.0
    for window in windows:
        ids = np.array([window], np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), **caches}
        (logits,) = session.run(["logits"], feeds)
        total += negative_log_likelihood(logits[0, :-1], ids[0, 1:])
    return math.exp(total / (len(windows) * (WINDOW - 1)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, default=Path(__file__).parent.parent / "fixtures/texts/test.txt")
    parser.add_argument("--windows", type=int, default=10)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    ids = tokenizer.encode(arguments.text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)][: arguments.windows]
    for folder in arguments.folders:
        model = find_model(folder)
        size = sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))
        print(f"{folder}: {perplexity(folder, windows):.3f}, {size / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
