"""What a gate is worth that tells for which tokens a map may stand in an FFN block's place, by what it is made of.

    python bench/repair_gates.py CHECKPOINT --layers 4,12,18,24 [--rank 128] [--windows 24] [--skipped 0.5] [--threads 2]

Needs torch, transformers and tokenizers. Maps and gates are fitted to three of four windows of the text `fit`; figures are
of the others. A figure is the mean, over the tokens that skip, of ||y - map x||^2 / ||h + y||^2: x the block's normed input, y
what it adds to the stream h. The share of tokens that skip is the same for each gate: those of its lowest values.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "fixtures/oracle"))
from apply_plan import cut_windows, load_model, spread_evenly  # noqa: E402

RIDGE, GATE_RIDGE, SAMPLE = 1e-2, 0.3, 8


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--layers", required=True, help="by number, as 4,12")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--skipped", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    layers = [int(layer) for layer in options.layers.split(",")]
    columns = [figures(*taps, options) for taps in measure(options, layers)]
    print("| skipping tokens chosen by | " + " | ".join(f"layer {layer}" for layer in layers) + " |")
    print("|---" * (len(layers) + 1) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{100 * column[name]:.2f} %" for column in columns) + " |")


def measure(options, layers):
    """x, h and y of each layer, [tokens, hidden]."""
    model = load_model(options.checkpoint)
    found = {layer: ([], [], []) for layer in layers}
    for layer in layers:
        hook(model.model.layers[layer], found[layer])
    for window in spread_evenly(cut_windows(options.checkpoint, ROOT / "texts/fit.txt", 512), options.windows):
        model.model(window, use_cache=False)
    return [tuple(torch.cat(values) for values in found[layer]) for layer in layers]


def hook(layer, found):
    inputs, residuals, outputs = found
    after = getattr(layer, "post_feedforward_layernorm", None)
    before = layer.pre_feedforward_layernorm if after else layer.post_attention_layernorm
    before.register_forward_hook(lambda _, args, x: (residuals.append(args[0][0]), inputs.append(x[0])) and None)
    (after or layer.mlp).register_forward_hook(lambda _, __, y: outputs.append(y[0]))


def figures(x, h, y, options):
    cut = len(x) * 3 // 4
    factors = 1 / ((h + y).square().mean(1) + 1e-6)
    wrong, mean, inverse = fit(x[:cut], y[:cut], factors[:cut], options.rank)
    errors = wrong(x, y) * factors / x.shape[1]
    centred = x - mean
    distance = centred.square().sum(1, keepdim=True)
    features = torch.cat([centred, distance], 1)
    known, sampled = errors[:cut], slice(0, cut, SAMPLE)
    gate = regression(features[sampled], known[sampled].clamp(max=known[sampled].quantile(0.99)))
    scores = {
        "chance": torch.rand(len(x), generator=torch.Generator().manual_seed(0)),
        "the distance from the mean": distance[:, 0],
        "the leverage, a whole matrix": ((centred @ inverse) * centred).sum(1),
        "slope and curvature": gate(features),
        "the error itself": errors,
    }
    return {name: lowest(score[cut:], errors[cut:], options.skipped) for name, score in scores.items()}


def fit(x, y, factors, rank):
    """||y - map x||^2 of tokens, the mean of x, and the inverse of its second moments with the ridge."""
    weights = (factors / factors.sum())[:, None]
    mx, my = (weights * x).sum(0), (weights * y).sum(0)
    xx = ((x - mx) * weights).T @ (x - mx)
    xy = ((x - mx) * weights).T @ (y - my)
    damped = (xx + RIDGE * xx.trace() / len(xx) * torch.eye(len(xx))).double()
    inverse = torch.linalg.inv(damped)
    covariance = xy.double().T @ inverse @ xy.double()
    columns = torch.linalg.eigh(covariance)[1][:, -rank:]
    whole = (columns @ columns.T @ xy.double().T @ inverse).float()
    return (lambda x, y: (y - my - (x - mx) @ whole.T).square().sum(1)), mx, inverse.float()


def regression(features, wanted):
    mean, deviation = features.mean(0), features.std(0)
    scaled = (features - mean) / deviation
    gram = scaled.T @ scaled / len(scaled) + GATE_RIDGE * torch.eye(scaled.shape[1])
    weights = torch.linalg.solve(gram, scaled.T @ (wanted - wanted.mean()) / len(scaled))
    return lambda features: (features - mean) / deviation @ weights


def lowest(scores, errors, share):
    return errors[scores.argsort()[: int(share * len(scores))]].mean().item()


if __name__ == "__main__":
    main()
