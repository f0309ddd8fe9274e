"""Computes expectations.json: what statistics of fixtures/tiny-llama are, by Transformers and NumPy in plain words.

Run from the repository's root with the packages of fixtures/tiny-llama/requirements.txt, and NumPy:
    python calibrate/expectations.py && npm run format
"""

import json
import pathlib

import numpy as np
import torch
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent / "fixtures" / "tiny-llama"
SEQUENCE_LENGTH = 48
# One linear layer of each input, by what the input is called.
READERS = {
    "self_attn.q_proj": "attn_in",
    "self_attn.o_proj": "attended",
    "mlp.up_proj": "ffn_in",
    "mlp.down_proj": "down_in",
}
TOKENS = [(i * i * 37 + 11 * i) % 2048 for i in range(2 * SEQUENCE_LENGTH)]


def main():
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    seen = {name: [] for name in ("residual", "out", "gate", "up", "act", *READERS.values())}
    head_in = []
    model.lm_head.register_forward_pre_hook(lambda _, args: keep(head_in, args[0]))
    for layer in model.model.layers:
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, args: keep(seen["residual"], args[0]))
        layer.mlp.register_forward_hook(lambda _, __, out: keep(seen["out"], out))
        layer.mlp.gate_proj.register_forward_hook(lambda _, __, out: keep(seen["gate"], out))
        layer.mlp.up_proj.register_forward_hook(lambda _, __, out: keep(seen["up"], out))
        for linear, name in READERS.items():
            layer.get_submodule(linear).register_forward_pre_hook(lambda _, args, name=name: keep(seen[name], args[0]))
        layer.mlp.act_fn.register_forward_hook(lambda _, __, out: keep(seen["act"], out))
    for start in range(0, len(TOKENS), SEQUENCE_LENGTH):
        model(torch.tensor([TOKENS[start : start + SEQUENCE_LENGTH]]))
    layers = len(model.model.layers)
    rows = []
    moments = {name: [] for name in READERS.values()}
    for i, layer in enumerate(model.model.layers):
        # Every layer is passed once a sequence, so its calls are `layers` apart.
        taps = {name: np.concatenate(values[i::layers]) for name, values in seen.items()}
        down = layer.mlp.down_proj.weight.detach().double().numpy()
        for name, found in moments.items():
            found.append(sample(taps[name], i))
        rows.append(figures(taps, np.linalg.norm(down, axis=0)))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    result = {"sequenceLength": SEQUENCE_LENGTH, "tokens": TOKENS, "columns": columns, "moments": moments}
    result["moments"]["head_in"] = [sample(np.concatenate(head_in), 0)]
    (HERE / "expectations.json").write_text(json.dumps(result) + "\n")


def keep(values, tensor):
    values.append(tensor.detach().double().numpy()[0])


def sample(values, first):
    """The mean square of every 16th column, from column `first` on."""
    return [float(f"{square:.9g}") for square in (values**2).mean(0)[first::16]]


def figures(taps, down_norm):
    h, gate, up, act = taps["residual"], taps["gate"], taps["up"], taps["act"]
    after = h + taps["out"]
    cosine = (h * after).sum(1) / np.linalg.norm(h, axis=1) / np.linalg.norm(after, axis=1)
    energy = (act * up * down_norm) ** 2
    score = np.abs(act) * down_norm
    return {
        "meanCosine": cosine.mean(),
        "gateMean": gate.mean(),
        "gateStd": gate.std(),
        "gateTokenStd": gate.std(1).mean(),
        "meanAbsUp": np.abs(up).mean(),
        "meanDownNorm": down_norm.mean(),
        "oracleEnergyAtHalf": kept_at_half(energy, energy),
        "gateEnergyAtHalf": kept_at_half(score, energy),
        # Score of the `top-k` preset: the threshold that half of all neurons of all tokens pass.
        "thresholdAtHalf": np.median(np.abs(act) * np.abs(up).mean(0) * down_norm),
    }


def kept_at_half(score, energy):
    best = np.argsort(-score, axis=1)[:, : score.shape[1] // 2]
    return (np.take_along_axis(energy, best, 1).sum(1) / energy.sum(1)).mean()


main()
