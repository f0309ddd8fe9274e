"""Generates greedily with optimum's ORTModelForCausalLM. Reads a list of jobs from stdin and prints their answers, as JSON.

A job has a "folder", a "prompt" (text, or token ids where the folder has no tokenizer) and a "count". Its answer has
"promptIds", "tokens" and "text", or "error".
"""

import json
import sys

import torch
from optimum.onnxruntime import ORTModelForCausalLM
from transformers import AutoTokenizer


def run(job):
    model = ORTModelForCausalLM.from_pretrained(job["folder"])
    tokenizer = AutoTokenizer.from_pretrained(job["folder"]) if isinstance(job["prompt"], str) else None
    inputs = encode(tokenizer, job["prompt"])
    output = model.generate(**inputs, max_new_tokens=job["count"], do_sample=False)[0]
    length = inputs["input_ids"].shape[1]
    tokens = output[length:].tolist()
    return {
        "promptIds": output[:length].tolist(),
        "tokens": tokens,
        "text": tokenizer.decode(tokens, skip_special_tokens=True) if tokenizer else "",
    }


def encode(tokenizer, prompt):
    if tokenizer:
        return tokenizer(prompt, return_tensors="pt")
    ids = torch.tensor([prompt])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def answer(job):
    try:
        return run(job)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    json.dump([answer(job) for job in json.load(sys.stdin)], sys.stdout)
