"""What Transformers computes from a checkpoint in fp32: the logits that `lacuna verify` compares with.

    python expectations.py --probe             prints, as JSON, the versions of the packages that are used
    python expectations.py REQUEST.json        writes the file that the request names

`lacuna verify`, `lacuna verify expect` and `lacuna convert --verify` write the request. docs/verification.md describes
the file. Each line on stdout stands for one call of the model. Nothing is downloaded, and no code of the checkpoint
runs.
"""

import importlib.metadata
import inspect
import json
import os
import platform
import sys
from pathlib import Path

REQUIRED = ("torch", "transformers", "tokenizers", "safetensors")
OPTIONAL = ("peft", "gguf")


def main() -> None:
    if sys.argv[1:] == ["--probe"]:
        print(json.dumps({"python": platform.python_version()} | versions((*REQUIRED, *OPTIONAL))))
        return
    # A checkpoint is local or missing. Searching the Hub for more of it would only waste time.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import torch

    if request["threads"]:
        torch.set_num_threads(request["threads"])
    with torch.inference_mode():
        answer(request)


def answer(request: dict) -> None:
    from safetensors.torch import save_file

    model = load(request)
    encode = encoder(request)
    tensors, prompts = {}, []
    for prompt in request["prompts"]:
        name, text = prompt["name"], prompt["text"]
        for key, tensor in expect(model, prompt["ids"], request["rows"], request["steps"]).items():
            tensors[f"{name}.{key}"] = tensor.contiguous()
        encoded = None if encode is None or text is None else encode(text)
        prompts.append({"name": name, "text": text, "encoded": encoded})
    used = versions((*REQUIRED, *(["peft"] if request["adapter"] else []), *(["gguf"] if request["gguf"] else [])))
    metadata = {
        "format": "lacuna.expectations",
        "version": "1",
        "fingerprint": request["fingerprint"],
        "tools": json.dumps({"python": platform.python_version()} | used),
        "prompts": json.dumps(prompts),
    }
    save_file(tensors, request["output"], metadata=metadata)


def load(request: dict):
    """The model with fp32 weights, whatever the checkpoint's type, with the adapter merged."""
    import torch
    from transformers import AutoModelForCausalLM

    # Transformers 4.56 renamed the argument.
    release = tuple(int(part) for part in importlib.metadata.version("transformers").split(".")[:2])
    options = {"dtype" if release >= (4, 56) else "torch_dtype": torch.float32}
    if request["gguf"]:
        options["gguf_file"] = request["gguf"]
    model, loading = AutoModelForCausalLM.from_pretrained(
        request["folder"],
        attn_implementation="eager",
        trust_remote_code=False,
        output_loading_info=True,
        **options,
    )
    refuse_partial(loading)
    # Transformers' report does not even list tensors of a GGUF file that it has no name for.
    held = sum(parameter.numel() for parameter in model.parameters())
    if request["gguf"] and held < request["parameters"]:
        sys.exit(f"Transformers reads only {held} of the {request['parameters']} weights of this GGUF file")
    if request["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, request["adapter"]).merge_and_unload()
    return model.eval()


def refuse_partial(loading: dict) -> None:
    """A model loaded without some of its tensors is another model, and Transformers only warns of it."""
    derived = ("inv_freq", "cos_cached", "sin_cached")
    unused = ("vision_tower", "multi_modal_projector")  # no prompt has a picture
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        found = [str(name) for name in loading.get(kind) or ()]
        names = sorted(name for name in found if not (name.endswith(derived) or any(part in name for part in unused)))
        if names:
            more = "" if len(names) <= 5 else f" and {len(names) - 5} more"
            sys.exit(f"Transformers does not read this checkpoint as it is: {kind}: {', '.join(names[:5])}{more}")


def encoder(request: dict):
    """The tokenizer of tokenizer.json, or None if there is none (as beside a GGUF file)."""
    path = Path(request["folder"]) / "tokenizer.json"
    if request["gguf"] or not path.exists():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: tokenizer.encode(text).ids


def expect(model, ids: list, rows: int, steps: int) -> dict:
    """Logits of up to `rows` positions of the prompt (one call), and of `steps` likeliest tokens decoded after it."""
    import torch

    arguments = inspect.signature(model.forward).parameters
    cache_name = "cache" if "cache" in arguments else "past_key_values"
    count = min(rows, len(ids))
    # Evenly over the prompt, its last position included.
    positions = torch.tensor([(index + 1) * len(ids) // count - 1 for index in range(count)])
    keep = {"logits_to_keep": positions} if "logits_to_keep" in arguments else {}
    out = model(torch.tensor([ids]), use_cache=True, **keep)
    called()
    prefill = (out.logits[0] if keep else out.logits[0, positions]).float()
    tokens, decoded = [prefill[-1].argmax()], []
    for _ in range(steps):
        out = model(tokens[-1].reshape(1, 1), use_cache=True, **{cache_name: getattr(out, cache_name)})
        called()
        decoded.append(out.logits[0, -1].float())
        tokens.append(decoded[-1].argmax())
    return {
        "input_ids": torch.tensor(ids),
        "positions": positions,
        "prefill_logits": prefill,
        "tokens": torch.stack(tokens[:-1]),
        "decode_logits": torch.stack(decoded),
    }


def called() -> None:
    print("called", flush=True)


def versions(names) -> dict:
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


if __name__ == "__main__":
    main()
