"""Streams a text with onnxruntime-genai: python examples/run_genai.py DIR PROMPT"""

import sys

import onnxruntime_genai as og

folder, prompt = sys.argv[1:3]
model = og.Model(folder)
tokenizer = og.Tokenizer(model)
# Without this, the token that starts a text is left out.
tokenizer.update_options(add_special_tokens="true")
ids = tokenizer.encode(prompt)
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(ids) + 24, do_sample=False)
generator = og.Generator(model, params)
generator.append_tokens(ids)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
print()
