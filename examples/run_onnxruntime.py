"""Continues a text with onnxruntime alone: python examples/run_onnxruntime.py DIR "Once upon a time"

Needs onnxruntime and tokenizers. The first step feeds the prompt and an empty cache; each later one feeds a token and the
cache that the step before gave.
"""

import json
import sys

import numpy
import onnxruntime
from tokenizers import Tokenizer

folder, prompt = sys.argv[1:3]
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx", providers=["CPUExecutionProvider"])
with open(f"{folder}/config.json") as file:
    ends = json.load(file).get("eos_token_id")
ends = ends if isinstance(ends, list) else [ends]

cache = {}
for value in session.get_inputs():
    if value.name.startswith("past_key_values."):
        _, heads, _, width = value.shape
        dtype = numpy.float16 if value.type == "tensor(float16)" else numpy.float32
        cache[value.name] = numpy.zeros((1, heads, 0, width), dtype)
outputs = [value.name for value in session.get_outputs()]

ids = tokenizer.encode(prompt).ids
fed, start = ids, len(ids)
for _ in range(24):
    feeds = {
        "input_ids": numpy.array([fed], numpy.int64),
        "attention_mask": numpy.ones((1, len(ids)), numpy.int64),
        **cache,
    }
    results = dict(zip(outputs, session.run(None, feeds)))
    token = int(results["logits"][0, -1].argmax())
    if token in ends:
        break
    ids, fed = [*ids, token], [token]
    cache = {name: results[name.replace("past_key_values", "present")] for name in cache}
print(tokenizer.decode(ids[start:]))
