"""Importances for `lacuna convert --dtype int4 --importance`: the mean square of each input of every linear layer.

    python bench/importance.py CHECKPOINT OUT.safetensors [--text fixtures/texts/fit.txt] [--tokens 8192]

Windows of 512 tokens, without special tokens. Needs torch, transformers, tokenizers and safetensors.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

WINDOW = 512


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--text", type=Path, default=Path(__file__).parent.parent / "fixtures/texts/fit.txt")
    parser.add_argument("--tokens", type=int, default=8192)
    arguments = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    text = arguments.text.read_text(encoding="utf-8")
    ids = tokenizer.encode(text, add_special_tokens=False).ids[: arguments.tokens]
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)]

    stored = dict(model.named_parameters())  # A tied head is not among them: it is the embedding.
    sums = {}

    def watch(name):
        def hook(_module, inputs, _output):
            rows = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            sums[name] = sums.get(name, 0) + (rows * rows).sum(0)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in stored:
            module.register_forward_hook(watch(f"{name}.weight"))
    with torch.no_grad():
        for window in windows:
            model(torch.tensor([window]))
    tokens = len(windows) * WINDOW
    save_file({name: (total / tokens).float() for name, total in sums.items()}, arguments.output)
    print(f"{len(sums)} layers, {tokens} tokens: {arguments.output}")


if __name__ == "__main__":
    main()
