"""Perplexity of model folders, from Lacuna or other tools, in Python's onnxruntime, on the same windows of one text.

    python bench/perplexity.py TOKENIZER.json FOLDER... [--text texts/test.txt] [--windows 40] [--threads 1] [--library LIBRARY]

A folder has onnx/model.onnx or model.onnx. To choose another model in it, give its .onnx file. Windows of 512 tokens,
with a BOS at their start if the tokenizer adds one, start from empty caches. All tokens except a window's first are
scored. This is what `lacuna eval` measures in mode "all".

Needs numpy, onnxruntime and tokenizers.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import onnxruntime

WINDOW = 512
TEXTS = Path(__file__).parent.parent / "texts"


def find_model(folder):
    if folder.suffix == ".onnx":
        return folder
    return next(path for path in (folder / "onnx/model.onnx", folder / "model.onnx") if path.exists())


def size_of(folder):
    """Bytes of the model and its weights."""
    model = find_model(folder)
    return sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))


def cut_windows(tokenizer_json, text, count):
    """`count` windows of WINDOW tokens, spread evenly over a text, as `lacuna eval` scores them."""
    from tokenizers import Tokenizer  # Not needed by other users of this file.

    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    start = tokenizer.encode("").ids  # [bos], or nothing
    ids = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    step = WINDOW - len(start)
    held = len(ids) // step
    count = min(count, held)
    chosen = [i * held // count for i in range(count)]
    return [start + ids[i * step : (i + 1) * step] for i in chosen]


def empty_caches(session, head_dim=None, tokens=0):
    """Caches with room for `tokens`. `head_dim` is used if the graph leaves it open."""
    caches = {}
    for value in session.get_inputs():
        if not value.name.startswith("past_key_values."):
            continue
        heads, width = value.shape[1], value.shape[3]
        dtype = np.float16 if value.type == "tensor(float16)" else np.float32
        caches[value.name] = np.zeros((1, heads, tokens, width if isinstance(width, int) else head_dim), dtype)
    return caches


def head_dim_of(folder):
    """The .onnx file that genai_config.json names, also in folders of genai's own builder."""
    if folder.suffix == ".onnx":
        folder = folder.parent.parent
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    return config["model"]["decoder"]["head_size"]


def negative_log_likelihood(logits, targets):
    """Of float32 [tokens, vocabulary], changed in place; exponentials in float32, their sums in float64."""
    chosen = logits[np.arange(len(targets)), targets].astype(np.float64)
    total = 0.0
    for row in logits:
        peak = row.max()
        np.exp(np.subtract(row, peak, out=row), out=row)
        total += math.log(row.sum(dtype=np.float64)) + float(peak)
    return total - float(chosen.sum())


def open_session(model, threads, library=None):
    """Runs portable bodies, or the kernels of a library."""
    options = onnxruntime.SessionOptions()
    if library:
        options.register_custom_ops_library(library)
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def perplexity(folder, windows, threads=1, library=None):
    session = open_session(find_model(folder), threads, library)
    caches = empty_caches(session, head_dim_of(folder))
    total = 0.0
    for window in windows:
        ids = np.array([window], np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), **caches}
        (logits,) = session.run(["logits"], feeds)
        total += negative_log_likelihood(logits[0, :-1].astype(np.float32, copy=False), ids[0, 1:])
    return math.exp(total / (len(windows) * (WINDOW - 1)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, default=TEXTS / "test.txt")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--library")
    arguments = parser.parse_args()
    windows = cut_windows(arguments.tokenizer, arguments.text, arguments.windows)
    for folder in arguments.folders:
        found = perplexity(folder, windows, arguments.threads, arguments.library)
        print(f"{folder}: {found:.3f}, {size_of(folder) / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
