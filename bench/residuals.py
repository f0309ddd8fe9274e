"""Whether residuals that are read for a few inputs beat more bits: the tables of docs/precisions.md, "Residuals".

    python bench/residuals.py CHECKPOINT --work WORK [--windows 16] [--fit-windows 8] [--choose-windows 2] [--threads 1]

A product with a residual is y = Q x + R (m * x). Q is the matrix in 4 bits. R = W - Q is kept in 4 bits, too, in blocks
along the outputs of one input. m takes the share of inputs with the largest |x_i| * |R_i|, token by token and matrix by
matrix, and only these inputs' columns of R are read. Q is rounded for what m leaves: by the Gram matrix of (1 - m) * x,
where m comes from the R of a first rounding.

All matrices of attention and FFN are rounded as `lacuna convert --data` rounds them: GPTQ, symmetric blocks of 32 with
float16 scales, by texts/fit.txt. Embedding and head stay floats. A mix by layer stores those layers in more than 4 bits
that gain most for their bytes, until it reads as much as a residual. What a layer gains is measured by the KL
divergence of the model in which it alone is rounded, on texts/choose.txt. Everything is then scored on texts/test.txt.

Each stage is kept in WORK: an interrupted run continues, and more windows add to those that are scored.

Needs torch, transformers and tokenizers.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from statistics import mean, stdev
from zlib import crc32

import torch
from torch.nn.functional import linear

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "fixtures/oracle"))
from apply_plan import cut_windows, load_model, spread_evenly

WINDOW = 512
BLOCK = 32
BITS = {"int4": 4, "int5": 5, "int6": 6, "int8": 8}
SHARES = {"residual 3 %": 0.03, "residual 10 %": 0.1}
# The numbers of src/quantize: columns rounded before their errors are carried on to all others, the share of the
# diagonal's mean that is added to it, and where the largest value of a block goes, in half ranges of codes.
STRIP = 64
DAMPING = 0.05
PEAKS = (-1.25, -1.125, -1.0625, -1, -0.9375, -0.875, 0.875)
# Rows whose scales are searched at a time: few enough to stay in a processor's cache.
ROWS = 128
# How often the first token counts for query, key and value.
FIRST_TOKEN = 64
# Losses of single layers come from the logits of every fourth position, which is enough to tell layers apart.
CHOOSE_EVERY = 4


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model = load_model(options.checkpoint)
    with torch.no_grad():
        round_layers(model, options.work, windows_of(options, "fit", options.fit_windows))
        losses = layer_losses(model, options.work, windows_of(options, "choose", options.choose_windows))
        rows = rows_of(model, losses)
        scores = score(model, options.work, rows, windows_of(options, "test", options.windows))
    print_table(rows, scores)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="where stages are kept")
    parser.add_argument("--windows", type=int, default=16, help="of 512 tokens, spread over test.txt")
    parser.add_argument("--fit-windows", type=int, default=8, help="of fit.txt, for Gram matrices")
    parser.add_argument("--choose-windows", type=int, default=2, help="of choose.txt, for the losses of single layers")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def windows_of(options, text, count):
    return spread_evenly(cut_windows(options.checkpoint, ROOT / f"texts/{text}.txt", WINDOW), count)


def linears_of(layer):
    return {name: module for name, module in layer.named_modules() if isinstance(module, torch.nn.Linear)}


# Rounding


def round_layers(model, work, windows):
    """Writes each layer's matrices in every way as WORK/layer-N.pt: codes, scales, and the norms that choose inputs."""
    paths = [work / f"layer-{index}.pt" for index in range(len(model.model.layers))]
    if all(path.exists() for path in paths):
        return
    calls = calls_of_layers(model, torch.cat(windows))
    for layer, call, path in zip(model.model.layers, calls, paths):
        if not path.exists():
            torch.save(rounded_layer(layer, call), path)
            print(f"{path.name} is rounded", file=sys.stderr, flush=True)


def calls_of_layers(model, tokens):
    """What each layer is called with in one pass of the dense model."""
    calls = []

    def keep(_layer, positional, named):
        calls.append((positional, named))

    hooks = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in model.model.layers]
    model(tokens, use_cache=False, logits_to_keep=1)
    for hook in hooks:
        hook.remove()
    return calls


def rounded_layer(layer, call):
    inputs, weights = inputs_of(layer, call)
    ways = {way: {} for way in (*BITS, *SHARES)}
    for name, module in linears_of(layer).items():
        x, matrix = inputs[name], module.weight.data
        factor = gram_factor(x, weights[name])
        for way, rounded in zip(BITS, round_compensated(matrix, BITS.values(), factor)):
            ways[way][name] = {"base": rounded}
        for way, share in SHARES.items():
            first = matrix - floats_of(*ways["int4"][name]["base"])
            ways[way][name] = with_residual(matrix, x, weights[name], first, share)
    return ways


def inputs_of(layer, call):
    """What each matrix is multiplied by, [tokens, inputs], and how much each token counts in its Gram matrix."""
    inputs, normed = {}, {}
    hooks = [
        module.register_forward_pre_hook(lambda _, x, name=name: inputs.__setitem__(name, x[0].flatten(0, 1)))
        for name, module in linears_of(layer).items()
    ]
    for name, module in layer.named_children():
        if name.endswith("layernorm"):
            hooks.append(module.register_forward_pre_hook(lambda _, x, name=name: normed.__setitem__(name, x[0])))
    positional, named = call
    found = layer(*positional, **named)
    found = found[0] if isinstance(found, tuple) else found
    for hook in hooks:
        hook.remove()
    return inputs, {name: token_weights(name, normed, found) for name in inputs}


def token_weights(name, normed, found):
    """The first token counts more for attention; what is added to the stream counts by the size of what is normed."""
    weights = torch.ones(found.shape[:2])
    if name.endswith(("q_proj", "k_proj", "v_proj")):
        weights[:, 0] = FIRST_TOKEN
    if name.endswith("o_proj"):
        weights = 1 / normed["post_attention_layernorm"].square().mean(-1)
    if name.endswith("down_proj"):
        weights = 1 / normed.get("post_feedforward_layernorm", found).square().mean(-1)
    return weights.flatten()


def gram_factor(x, weights):
    """Diagonal, order of columns, and U of the damped Gram matrix, H = U D U' with ones on U's diagonal."""
    gram = (x * weights[:, None]).T @ x
    diagonal = gram.diagonal().clone()
    gram.diagonal().add_(DAMPING * diagonal.mean())
    order = diagonal.argsort(descending=True)
    lower = torch.linalg.cholesky(gram[order][:, order].flip(0, 1).double()).float()
    return diagonal, order, (lower / lower.diagonal()).flip(0, 1).contiguous()


def round_compensated(matrix, precisions, factor):
    """Codes and scales in each precision by GPTQ, in QuIP's form: errors of earlier columns are added through U."""
    diagonal, order, upper = factor
    # Rows do not meet here, so all precisions go through at once, one column [rows] at a time.
    scales = torch.cat([search_scales(matrix, bits, diagonal) for bits in precisions])
    middles = torch.tensor([2.0 ** (bits - 1) for bits in precisions]).repeat_interleave(len(matrix))
    values = matrix.T[order].repeat(1, len(precisions))
    steps = scales.float().repeat_interleave(BLOCK, 1).T[order].contiguous()
    errors, codes = torch.zeros_like(values), torch.zeros(values.shape, dtype=torch.int8)
    for start in range(0, len(values), STRIP):
        end = min(start + STRIP, len(values))
        carried = upper[:start, start:end].T @ errors[:start]
        for j in range(start, end):
            code = rounded_codes(values[j] + carried[j - start], steps[j], -middles, middles - 1)
            codes[j] = code
            errors[j] = values[j] - code * steps[j]
            carried[j - start + 1 :].addr_(upper[j, j + 1 : end], errors[j])
    codes = codes[order.argsort()].T
    count = len(precisions)
    return [(part.contiguous(), own.clone()) for part, own in zip(codes.chunk(count), scales.chunk(count))]


def search_scales(matrix, bits, weights):
    """A float16 scale for each block, by the weighted error: the search of src/quantize/fit.ts."""
    weights = weights.reshape(-1, BLOCK)
    return torch.cat([search(rows.unflatten(1, (-1, BLOCK)), bits, weights) for rows in matrix.split(ROWS)])


def search(blocks, bits, weights):
    middle = 2 ** (bits - 1)
    high, low = blocks.amax(-1).clamp(min=0), blocks.amin(-1).clamp(max=0)
    upright = torch.maximum(high / (middle - 1), -low / middle)
    turned = torch.maximum(high / middle, -low / (middle - 1))
    nearest = stored(torch.where(upright <= turned, upright, -turned))
    peak = torch.where(-low > high, low, high)
    found, most = nearest, torch.zeros_like(nearest)
    for place in PEAKS:
        codes = codes_of(blocks, peak / (place * middle), bits)
        weighted = codes * weights
        products, squares = (weighted * blocks).sum(-1), weighted.mul_(codes).sum(-1)
        gain = products.square() / squares
        found = torch.where(gain > most, products / squares, found)
        most = torch.where(gain > most, gain, most)
    found = stored(found)
    is_better = error_of(blocks, found, bits, weights) < error_of(blocks, nearest, bits, weights)
    return torch.where(is_better, found, nearest).half()


def stored(scales):
    """As float16. Any scale gives zeros back."""
    scales = scales.half().float()
    return torch.where(scales == 0, torch.ones_like(scales), scales)


def codes_of(blocks, scales, bits):
    """Blocks of zeros, whose scale may be 0, have codes of 0."""
    middle = 2 ** (bits - 1)
    return rounded_codes(blocks, scales[..., None], -middle, middle - 1).nan_to_num_()


def rounded_codes(values, scales, lowest, highest):
    return (values / scales).round_().clamp_(lowest, highest)


def error_of(blocks, scales, bits, weights):
    return (blocks - codes_of(blocks, scales, bits).mul_(scales[..., None])).square_().mul_(weights).sum(-1)


def with_residual(matrix, x, weights, residual, share):
    """Base and residual; the base is rounded for the inputs that are left when `residual` says which are taken."""
    rest = x * ~chosen(x, residual.norm(dim=0), share)
    [base] = round_compensated(matrix, [BITS["int4"]], gram_factor(rest, weights))
    residual = (matrix - floats_of(*base)).T.contiguous()
    scales = search_scales(residual, BITS["int4"], torch.ones(residual.shape[1]))
    codes = codes_of(residual.unflatten(1, (-1, BLOCK)), scales.float(), BITS["int4"]).flatten(1).to(torch.int8)
    return {"base": base, "residual": (codes, scales), "norms": residual.norm(dim=1)}


def chosen(x, norms, share):
    """The inputs of each token whose columns of the residual are read."""
    taken = (x.abs() * norms).topk(count_of(x.shape[-1], share), dim=-1).indices
    return torch.zeros(x.shape, dtype=torch.bool).scatter_(-1, taken, True)


def count_of(inputs, share):
    return round(share * inputs)


def floats_of(codes, scales):
    return (codes.unflatten(1, (-1, BLOCK)) * scales.float()[..., None]).flatten(1)


# Models of rounded layers


def put(layer, index, way, work):
    """Makes a layer compute with its matrices as `way` stores them. Returns what makes it dense again."""
    kept = torch.load(work / f"layer-{index}.pt", mmap=True)[way]
    undo = [use(module, kept[name], SHARES.get(way)) for name, module in linears_of(layer).items()]
    return lambda: [dense() for dense in undo]


def use(module, stored_matrix, share):
    dense, forward = module.weight.data, module.forward
    module.weight.data = floats_of(*stored_matrix["base"])
    if share is not None:
        residual, norms = floats_of(*stored_matrix["residual"]).T.contiguous(), stored_matrix["norms"]
        module.forward = lambda x: forward(x) + linear(x * chosen(x, norms, share), residual)

    def undo():
        module.weight.data, module.forward = dense, forward

    return undo


# Mixes by layer


def layer_losses(model, work, windows):
    """For each layer and precision, the mean KL divergence of the model in which this layer alone is rounded."""
    path = work / f"losses-{len(windows)}.json"
    losses = read_json(path)
    tokens = torch.cat(windows)
    calls = calls_of_layers(model, tokens)
    wanted = torch.arange(0, WINDOW, CHOOSE_EVERY)
    dense = None
    for index, layer in enumerate(model.model.layers):
        missing = [way for way in BITS if f"{index} {way}" not in losses]
        if not missing:
            continue
        if dense is None:
            dense = log_probabilities(model, index, calls[index], wanted)
        for way in missing:
            undo = put(layer, index, way, work)
            rounded = log_probabilities(model, index, calls[index], wanted)
            undo()
            losses[f"{index} {way}"] = (dense.exp() * (dense - rounded)).sum(-1).mean().item()
        write_json(path, losses)
    return losses


def log_probabilities(model, first, call, wanted):
    """The model from layer `first` on. Those before pass on what they are given, which is what `first` reads."""
    positional, named = call
    hidden = positional[0] if positional else named["hidden_states"]
    before = list(model.model.layers)[:first]
    for layer in before:
        layer.forward = lambda hidden_states, *_, **__: hidden_states
    logits = model(inputs_embeds=hidden, use_cache=False, logits_to_keep=wanted).logits
    for layer in before:
        del layer.forward
    return torch.log_softmax(logits, dim=-1)


def mix_within(losses, layers, spare):
    """A precision for each layer: int4, and where a byte gains most, more, while `spare` bytes a weight are left."""
    mix = ["int4"] * layers
    left = spare * layers * 8  # Bits, since all layers have as many weights.

    def gain(step):
        index, way, cost = step
        return (losses[f"{index} {mix[index]}"] - losses[f"{index} {way}"]) / cost

    while True:
        steps = [
            (index, way, cost)
            for index, now in enumerate(mix)
            for way in BITS
            if 0 < (cost := BITS[way] - BITS[now]) <= left + 1e-9
        ]
        if not steps:
            return mix
        index, way, cost = max(steps, key=gain)
        mix[index], left = way, left - cost


# Scores


def rows_of(model, losses):
    """Every row: how each layer is stored, and the bytes that are read for each weight and token."""
    layers = model.model.layers
    rows = {"fp32": (None, 4)}
    for way in BITS:
        rows[way] = ([way] * len(layers), bytes_of(BITS[way]))
    for way, share in SHARES.items():
        spare = bytes_of(BITS["int4"]) * read_share(layers[0], share)
        rows[way] = ([way] * len(layers), bytes_of(BITS["int4"]) + spare)
        mix = mix_within(losses, len(layers), spare)
        rows[f"mix of layers for {way}"] = (mix, mean(bytes_of(BITS[each]) for each in mix))
    return rows


def bytes_of(bits):
    return bits / 8 + 2 / BLOCK


def read_share(layer, share):
    """The share of a residual's columns that is read, by weights: a matrix reads a whole number of them."""
    matrices = [module.weight for module in linears_of(layer).values()]
    read = sum(len(matrix) * count_of(matrix.shape[1], share) for matrix in matrices)
    return read / sum(matrix.numel() for matrix in matrices)


def score(model, work, rows, windows):
    """The mean negative log-likelihood of each window by row; a window goes through all rows before the next."""
    path = work / "scores.json"
    scores = read_json(path)
    for window in windows:
        for row, (ways, _bytes) in rows.items():
            if key_of(ways, window) not in scores:
                scores[key_of(ways, window)] = loss_of(model, work, ways, window)
                write_json(path, scores)
    return {row: [scores[key_of(ways, window)] for window in windows] for row, (ways, _bytes) in rows.items()}


def key_of(ways, window):
    """By what is computed, not by the row's name: a mix changes with the losses that it is made of."""
    return f"{crc32(window.numpy().tobytes()):08x} {', '.join(ways or ['fp32'])}"


def loss_of(model, work, ways, window):
    layers = model.model.layers
    undo = [put(layer, index, way, work) for index, (layer, way) in enumerate(zip(layers, ways or []))]
    logits = model(window, use_cache=False).logits[0, :-1]
    for dense in undo:
        dense()
    return torch.nn.functional.cross_entropy(logits, window[0, 1:]).item()


def print_table(rows, scores):
    count = len(scores["fp32"])
    perplexity = math.exp(mean(scores["fp32"]))
    print(f"fp32: perplexity {perplexity:.3f}, {count} windows\n")
    print("| | bytes a weight | ratio to fp32 |\n|---|---|---|")
    for row in sorted((row for row in rows if row != "fp32"), key=lambda row: rows[row][1]):
        differences = [one - dense for one, dense in zip(scores[row], scores["fp32"])]
        print(f"| {row} | {rows[row][1]:.4f} | {with_error(differences)} |")
    print("\n| residual / mix of the same bytes | ratio | layers above int4 |\n|---|---|---|")
    for way in SHARES:
        mix = f"mix of layers for {way}"
        differences = [one - other for one, other in zip(scores[way], scores[mix])]
        raised = ", ".join(f"{index}: {each}" for index, each in enumerate(rows[mix][0]) if each != "int4")
        print(f"| {way} | {with_error(differences)} | {raised} |")


def with_error(differences):
    """The ratio of perplexities and its standard error, over windows."""
    ratio = math.exp(mean(differences))
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return f"{ratio:.4f} ± {ratio * error:.4f}"


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
