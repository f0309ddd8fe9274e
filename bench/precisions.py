"""The cost of each precision in perplexity, beside the cost of other tools' rounding: the table of docs/precisions.md.

    python bench/precisions.py CHECKPOINT WORK [--rows NAME...] [--text texts/test.txt]
        [--windows 40] [--threads 1]

Each row makes its folder in WORK unless it exists, is scored once on the text, and is kept in WORK/scores.json. So an
interrupted run continues, and further rows add to the table, which is printed at the end. Perplexities are measured by
Python's onnxruntime (perplexity.py), all on the same windows, and divided by that of fp32.

Needs node and a built dist/ (npm run build); numpy, onnxruntime, tokenizers; onnx for the rows "matmul_nbits ...";
onnxruntime-genai with torch and transformers for the rows "genai ...". A row that cannot be made is named and left out.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from perplexity import TEXTS, cut_windows, find_model, perplexity, size_of

ROOT = Path(__file__).parent.parent
FIT = str(TEXTS / "fit.txt")


def lacuna(*options):
    def make(checkpoint, folder, _work):
        command = ["node", ROOT / "bin/lacuna.js", "convert", checkpoint, "-o", folder, "--quiet", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return make


def genai(algorithm):
    """onnxruntime-genai's builder with its defaults for the given algorithm."""

    def make(checkpoint, folder, _work):
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        options = ["-p", "int4", "-e", "cpu", "--extra_options", f"algo_config={algorithm}"]
        command = [*builder, "-i", checkpoint, "-o", folder, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return make


def matmul_nbits(symmetric, keep_head):
    """onnxruntime's own quantiser on our fp32 file, blocks of 32; `keep_head` leaves the head in fp32."""

    def make(checkpoint, folder, work):
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        dense = work / slug("fp32")
        if not dense.exists():
            ROWS["fp32"](checkpoint, dense, work)
        model = onnx.load(find_model(dense))
        as_matmul(model.graph)
        head = next(node.name for node in model.graph.node if "logits" in node.output)
        excluded = [head] if keep_head else []
        quantizer = MatMulNBitsQuantizer(
            model, block_size=32, is_symmetric=symmetric, accuracy_level=4, nodes_to_exclude=excluded
        )
        quantizer.process()
        folder.mkdir()
        (folder / "genai_config.json").write_bytes((dense / "genai_config.json").read_bytes())
        quantizer.model.save_model_to_file(str(folder / "model.onnx"), use_external_data_format=True)

    return make


def as_matmul(graph):
    """FusedMatMul of a weight [out, in] -> MatMul of its transpose, because the quantiser looks only for MatMul."""
    import onnx

    weights = {tensor.name: tensor for tensor in graph.initializer}
    turned = {}
    for node in graph.node:
        if node.op_type != "FusedMatMul":
            continue
        name = node.input[1]
        if name not in turned:
            values = onnx.numpy_helper.to_array(weights[name])
            turned[name] = onnx.numpy_helper.from_array(values.T.copy(), f"{name}.transposed")
            graph.initializer.append(turned[name])
        node.op_type, node.domain, node.input[1] = "MatMul", "", turned[name].name
        del node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


ROWS = {
    "fp32": lacuna(),
    "int8": lacuna("--dtype", "int8"),
    "int8 --asymmetric": lacuna("--dtype", "int8", "--asymmetric"),
    "int8 --data": lacuna("--dtype", "int8", "--data", FIT),
    **{
        f"{name} --data{zero_points}": lacuna("--dtype", name, "--data", FIT, *zero_points.split())
        for name in ("int6", "int5")
        for zero_points in ("", " --asymmetric")
    },
    "int4 --data": lacuna("--dtype", "int4", "--data", FIT),
    "int4 --data --asymmetric": lacuna("--dtype", "int4", "--data", FIT, "--asymmetric"),
    "int4 --data --rounding search": lacuna("--dtype", "int4", "--data", FIT, "--rounding", "search"),
    "int4 --data --vocabulary int4": lacuna("--dtype", "int4", "--data", FIT, "--vocabulary", "int4"),
    "int4 --data --vocabulary bf16": lacuna("--dtype", "int4", "--data", FIT, "--vocabulary", "bf16"),
    "int4": lacuna("--dtype", "int4"),
    "int4 --asymmetric": lacuna("--dtype", "int4", "--asymmetric"),
    "genai rtn": genai("rtn"),
    "genai k_quant": genai("k_quant"),
    "matmul_nbits symmetric": matmul_nbits(True, False),
    "matmul_nbits asymmetric": matmul_nbits(False, False),
    "matmul_nbits symmetric, fp32 head": matmul_nbits(True, True),
    "matmul_nbits asymmetric, fp32 head": matmul_nbits(False, True),
}


def slug(row):
    return row.replace(",", "").replace(" --", "-").replace(" ", "-")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--text", type=Path, default=TEXTS / "test.txt")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    windows = cut_windows(arguments.checkpoint / "tokenizer.json", arguments.text, arguments.windows)
    for row in dict.fromkeys(["fp32", *arguments.rows]):
        folder = work / slug(row)
        if not folder.exists() and not is_made(row, arguments.checkpoint, folder, work):
            continue
        key = f"{arguments.text.name}, {len(windows)} windows, spread"
        if key not in scores_in(work).get(row, {}):
            found = perplexity(folder, windows, arguments.threads)
            scores = scores_in(work)
            scores.setdefault(row, {"megabytes": size_of(folder) / 1e6})[key] = found
            (work / "scores.json").write_text(json.dumps(scores, indent=2), encoding="utf-8")
    print_table(scores_in(work))


def is_made(row, checkpoint, folder, work):
    """Makes a row's folder. If that fails, prints why and removes the folder. fp32, the base, must succeed."""
    try:
        ROWS[row](checkpoint, folder, work)
        return True
    except (ImportError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if row == "fp32":
            raise
        print(f"{row} is left out: {error}", file=sys.stderr)
        return False


def scores_in(work):
    path = work / "scores.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def print_table(scores):
    """Perplexity of fp32 and the others' ratios to it, for each text that fp32 was scored on."""
    texts = [key for key in scores["fp32"] if key != "megabytes"]
    print(f"| | {' | '.join(texts)} | MB |\n|---|{'---|' * (len(texts) + 1)}")
    for row in [name for name in ROWS if name in scores]:
        found = [cell(scores, row, text) for text in texts]
        print(f"| {row} | {' | '.join(found)} | {scores[row]['megabytes']:.0f} |")


def cell(scores, row, text):
    if text not in scores[row]:
        return ""
    ratio = scores[row][text] / scores["fp32"][text]
    return f"{scores[row][text]:.3f}" if row == "fp32" else f"{ratio:.4f}"


if __name__ == "__main__":
    main()
