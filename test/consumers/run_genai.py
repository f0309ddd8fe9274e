"""Generates greedily with onnxruntime-genai. Reads one job from stdin and prints its answer, both as JSON.

A job has a "folder" and a "kind", which is the name of a function below; the function says what else it needs.
"""

import json
import sys

import numpy
import onnxruntime_genai as genai


def text(model, tokenizer, job):
    """prompt: str, count: int -> promptIds, tokens, text."""
    # Its tokenizer adds no special token unless told to.
    tokenizer.update_options(add_special_tokens="true")
    prompt = as_list(tokenizer.encode(job["prompt"]))
    generator = start(model, prompt, job["count"])
    tokens = go_on(generator, job["count"])
    return {"promptIds": prompt, "tokens": tokens, "text": tokenizer.decode(tokens)}


def ids(model, tokenizer, job):
    """promptIds, count -> tokens, and logits: of each token those that it was chosen from."""
    generator = start(model, job["promptIds"], job["count"])
    logits, tokens = [], []
    while not generator.is_done():
        logits.append(numpy.asarray(generator.get_logits(), numpy.float32).reshape(-1).tolist())
        tokens += go_on(generator, 1)
    return {"tokens": tokens, "logits": logits}


def batch(model, tokenizer, job):
    """prompts: str of several rows, count -> tokens of each row."""
    tokenizer.update_options(add_special_tokens="true")
    rows = numpy.asarray(tokenizer.encode_batch(job["prompts"]).as_numpy(), numpy.int32)
    length = rows.shape[1]
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=length + job["count"], batch_size=len(rows), do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(rows)
    while not generator.is_done():
        generator.generate_next_token()
    return {"tokens": [as_list(generator.get_sequence(row)[length:]) for row in range(len(rows))]}


def turns(model, tokenizer, job):
    """promptIds, nextIds, count, feedLast -> first and second: the tokens of two turns with one generator."""
    total = len(job["promptIds"]) + len(job["nextIds"]) + 2 * job["count"]
    generator = start(model, job["promptIds"], total)
    first = go_on(generator, job["count"])
    following = job["nextIds"]
    if job["feedLast"]:
        generator.rewind_to(len(job["promptIds"]) + len(first) - 1)
        following = [first[-1], *following]
    generator.append_tokens(following)
    return {"first": first, "second": go_on(generator, job["count"])}


def libraries(model, tokenizer, job):
    """promptIds, count -> tokens, and mapped: the files of Lacuna's library that this process has loaded."""
    generator = start(model, job["promptIds"], job["count"])
    tokens = go_on(generator, job["count"])
    with open("/proc/self/maps") as maps:
        mapped = sorted({line.split()[-1] for line in maps if "lacuna_ort" in line})
    return {"tokens": tokens, "mapped": mapped}


def chat(model, tokenizer, job):
    """messages -> text: the prompt that the folder's template makes of them."""
    return {"text": tokenizer.apply_chat_template(json.dumps(job["messages"]), add_generation_prompt=True)}


def start(model, prompt, room):
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + room, do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(prompt)
    return generator


def go_on(generator, count):
    tokens = []
    while len(tokens) < count and not generator.is_done():
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return tokens


def as_list(tokens):
    return [int(token) for token in tokens]


if __name__ == "__main__":
    job = json.load(sys.stdin)
    model = genai.Model(job["folder"])
    tokenizer = None if job["kind"] in ("ids", "libraries") else genai.Tokenizer(model)
    kinds = {kind.__name__: kind for kind in (text, ids, batch, turns, libraries, chat)}
    json.dump(kinds[job["kind"]](model, tokenizer, job), sys.stdout)
