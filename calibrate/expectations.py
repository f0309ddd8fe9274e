"""Computes expectations.json: what statistics of two small models are, by Transformers and NumPy in plain words.

Run from the repository's root with the packages of fixtures/tiny-llama/requirements.txt, and NumPy:
    python calibrate/expectations.py && npm run format
"""

import json
import pathlib

import numpy as np
import torch
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
MODEL = FIXTURES / "tiny-llama"
# Norms before and after each block, normed heads, a window in every other layer.
GEMMA = FIXTURES / "gemma-variants" / "gemma3-pattern-2"
SEQUENCE_LENGTH = 48
# One linear layer of each input, by what the input is called.
READERS = {
    "self_attn.q_proj": "attn_in",
    "self_attn.o_proj": "attended",
    "mlp.up_proj": "ffn_in",
    "mlp.down_proj": "down_in",
}


def tokens_of(model):
    return [(i * i * 37 + 11 * i) % model.config.vocab_size for i in range(2 * SEQUENCE_LENGTH)]


def main():
    model = load(MODEL)
    seen = {name: [] for name in ("residual", "out", "gate", "up", "act")}
    for layer in model.model.layers:
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, args: keep(seen["residual"], args[0]))
        layer.mlp.register_forward_hook(lambda _, __, out: keep(seen["out"], out))
        layer.mlp.gate_proj.register_forward_hook(lambda _, __, out: keep(seen["gate"], out))
        layer.mlp.up_proj.register_forward_hook(lambda _, __, out: keep(seen["up"], out))
        layer.mlp.act_fn.register_forward_hook(lambda _, __, out: keep(seen["act"], out))
    run(model)
    layers = len(model.model.layers)
    rows = []
    for i, layer in enumerate(model.model.layers):
        # Every layer is passed once a sequence, so its calls are `layers` apart.
        taps = {name: np.concatenate(values[i::layers]) for name, values in seen.items()}
        down = layer.mlp.down_proj.weight.detach().double().numpy()
        rows.append(figures(taps, np.linalg.norm(down, axis=0)))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    result = {"sequenceLength": SEQUENCE_LENGTH, "tokens": tokens_of(model), "columns": columns}
    result["moments"] = [moments_of(MODEL), moments_of(GEMMA)]
    result["effects"] = [effects_of(MODEL), effects_of(GEMMA)]
    result["refits"] = [refit_of(MODEL, [3, 4, 8]), refit_of(GEMMA, [1, 2])]
    (HERE / "expectations.json").write_text(json.dumps(result) + "\n")


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def run(model):
    tokens = tokens_of(model)
    for start in range(0, len(tokens), SEQUENCE_LENGTH):
        model(torch.tensor([tokens[start : start + SEQUENCE_LENGTH]]))


def moments_of(path):
    """What the linear layers of a model read: samples of each layer's mean squares, by input."""
    model = load(path)
    inputs = {name: [[] for _ in model.model.layers] for name in READERS.values()} | {"head_in": [[]]}
    for i, layer in enumerate(model.model.layers):
        for linear, name in READERS.items():
            watch(layer.get_submodule(linear), inputs[name][i])
    watch(model.lm_head, inputs["head_in"][0])
    run(model)
    samples = {
        name: [sample(np.concatenate(values), i) for i, values in enumerate(layers)] for name, layers in inputs.items()
    }
    return {"folder": str(path.relative_to(HERE.parent)), "tokens": tokens_of(model), "samples": samples}


def effects_of(path):
    """By layer: KL at the end, by the share of the stream that is wrong, where a ridge regression stands in for FFNs."""
    model = load(path)
    ids = torch.tensor([tokens_of(model)[:SEQUENCE_LENGTH]])
    positions = slice(3, None, 4)
    with torch.no_grad():
        dense = torch.log_softmax(model(ids).logits[0, positions].double(), -1)
        effects = [effect_of(model, layer, ids, dense, positions) for layer in model.model.layers]
    return {"folder": str(path.relative_to(HERE.parent)), "tokens": tokens_of(model), "effects": effects}


def effect_of(model, layer, ids, dense, positions):
    shares = []
    # What comes last before the residual is added.
    last = getattr(layer, "post_feedforward_layernorm", layer.mlp)

    def replace(_, __, out):
        before, added, x = seen[0].double()[0], out.double()[0], inputs[0].double()[0]
        factors = 1 / (((before + added) ** 2).mean(1, keepdim=True) + 1e-6)
        weights = factors[1:] / factors[1:].sum()
        centre = [(weights * rows[1:]).sum(0) for rows in (x, added)]
        from_x, to_y = x[1:] - centre[0], added[1:] - centre[1]
        covariance = from_x.T @ (weights * from_x)
        ridge = 0.5 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
        fit = torch.linalg.solve(covariance + ridge, from_x.T @ (weights * to_y))
        changed = torch.cat([added[:1], centre[1] + from_x @ fit])
        shares.append((factors * ((changed - added) ** 2).mean(1, keepdim=True)).sum().item())
        return changed[None].float()

    first = getattr(layer, "pre_feedforward_layernorm", layer.post_attention_layernorm)
    seen, inputs = [], []
    hooks = [
        first.register_forward_pre_hook(lambda _, args: seen.append(args[0])),
        layer.mlp.register_forward_pre_hook(lambda _, args: inputs.append(args[0])),
        last.register_forward_hook(replace),
    ]
    changed = torch.log_softmax(model(ids).logits[0, positions].double(), -1)
    for hook in hooks:
        hook.remove()
    nats = (dense.exp() * (dense - changed)).sum(1).mean().item()
    return nats / (shares[0] / (SEQUENCE_LENGTH - 1))


def refit_of(path, layers, rank=8):
    """What maps of low rank get wrong, in place of these layers' FFNs, each fitted to what arrives with the earlier ones."""
    model = load(path)
    tokens = tokens_of(model)
    batch = torch.tensor(tokens).reshape(-1, SEQUENCE_LENGTH)
    wanted = {layer: after_layer(model, layer, batch) for layer in layers}
    errors = []
    for layer in layers:
        block = model.model.layers[layer]
        first = getattr(block, "pre_feedforward_layernorm", block.post_attention_layernorm)
        before, x = [], []
        hooks = [
            first.register_forward_pre_hook(lambda _, args, kept=before: kept.append(rows(args[0]))),
            first.register_forward_hook(lambda _, __, out, kept=x: kept.append(rows(out))),
        ]
        model(batch)
        for hook in hooks:
            hook.remove()
        lacking = wanted[layer] - before[0]
        factors = 1 / ((wanted[layer] ** 2).mean(1) + 1e-6)
        mapped = low_rank_map(x[0], lacking, factors, rank)
        errors.append(float((factors * ((lacking - mapped(x[0])) ** 2).mean(1)).mean()))
        # What comes last before the residual is added.
        last = getattr(block, "post_feedforward_layernorm", block.mlp)
        last.register_forward_hook(lambda _, __, out, y=mapped(x[0]): torch.tensor(y).reshape(out.shape).float())
    return {"folder": str(path.relative_to(HERE.parent)), "tokens": tokens, "layers": layers, "rank": rank, "errors": errors}


def after_layer(model, layer, batch):
    kept = []
    hook = model.model.layers[layer].register_forward_hook(lambda _, __, out: kept.append(rows(out)))
    model(batch)
    hook.remove()
    return kept[0]


def rows(values):
    tensor = values[0] if isinstance(values, tuple) else values
    return tensor.detach().double().numpy().reshape(-1, tensor.shape[-1])


def low_rank_map(x, y, factors, rank):
    """Ridge regression, its fitted values cut to the directions in which they vary most."""
    share = (factors / factors.sum())[:, None]
    x_mean, y_mean = (share * x).sum(0), (share * y).sum(0)
    gram = (share * (x - x_mean)).T @ (x - x_mean)
    damped = gram + 1e-2 * np.trace(gram) / len(gram) * np.eye(len(gram))
    full = np.linalg.solve(damped, (share * (x - x_mean)).T @ (y - y_mean))
    directions = np.linalg.eigh(full.T @ damped @ full)[1][:, -rank:]
    return lambda inputs: (inputs - x_mean) @ full @ directions @ directions.T + y_mean


def watch(module, values):
    module.register_forward_pre_hook(lambda _, args: keep(values, args[0]))


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
