"""Writes a checkpoint as the GGUF file that llama.cpp decodes: layers in Q4_0, embedding and head in Q8_0, no tokenizer.

    python bench/gguf_q4.py CHECKPOINT FILE          gguf and NumPy; models of LLaMA's build and Gemma 3

Names, reordered query and key rows and norms plus one are those of llama.cpp's own converter, and so is the quantiser.
(The embedding is Q8_0, where `llama-quantize` uses Q6_K, to have the precision of an int4 folder's.)
"""

import json
import struct
import sys
from pathlib import Path

import gguf
import numpy

def main() -> None:
    checkpoint, output = Path(sys.argv[1]), sys.argv[2]
    config = json.loads((checkpoint / "config.json").read_text())
    kind = {"llama": "llama", "gemma3_text": "gemma3"}[config["model_type"]]
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    head = config.get("head_dim") or hidden // heads
    rope = config.get("rope_parameters") or {}
    theta = config.get("rope_theta") or rope.get("rope_theta") or rope["full_attention"]["rope_theta"]
    writer = gguf.GGUFWriter(output, kind)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(theta)
    writer.add_rope_dimension_count(head)
    if kind == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    architecture = gguf.MODEL_ARCH.LLAMA if kind == "llama" else gguf.MODEL_ARCH.GEMMA3
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for name, data in tensors(checkpoint):
        target = names.get_name(name, (".weight",))
        if kind == "gemma3" and data.ndim == 1:
            data = data + 1
        if kind == "llama" and target.endswith(("attn_q.weight", "attn_k.weight")):
            # Pairs that turn together are side by side in llama.cpp, and half a head apart in Transformers.
            data = data.reshape(-1, 2, head // 2, hidden).swapaxes(1, 2).reshape(data.shape)
        if data.ndim == 1:
            writer.add_tensor(target, data)
            continue
        kept = target in ("token_embd.weight", "output.weight")
        quantised = gguf.GGMLQuantizationType.Q8_0 if kept else gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(target, gguf.quants.quantize(data, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(checkpoint: Path):
    """Names and float32 arrays from all of its safetensors files."""
    for path in sorted(checkpoint.glob("model*.safetensors")):
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name == "__metadata__":
                continue
            first, end = (8 + size + at for at in entry["data_offsets"])
            stored = numpy.frombuffer(raw[first:end], numpy.uint8)
            # Floats have the same names in both formats.
            values = gguf.dequantize(stored, gguf.GGMLQuantizationType[entry["dtype"]])
            yield name, values.astype(numpy.float32).reshape(entry["shape"])


if __name__ == "__main__":
    main()
