// Loads the folder that serve.js offers as /model, and shows a text as it is written.
import { env, pipeline, TextStreamer } from '@huggingface/transformers';

env.allowLocalModels = false;
env.remoteHost = `${location.origin}/`;
env.remotePathTemplate = '{model}/';
env.useBrowserCache = false;
env.useWasmCache = false;
env.backends.onnx.wasm.wasmPaths = '/node_modules/onnxruntime-web/dist/';

const form = document.querySelector('form');
const state = document.querySelector('#state');
const output = document.querySelector('output');
const button = form.querySelector('button');

try {
  const generator = await pipeline('text-generation', 'model', { device: 'wasm' });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    show(generator, new FormData(form).get('prompt'));
  });
  state.textContent = 'The model is ready.';
  button.disabled = false;
} catch (error) {
  state.textContent = `The model could not be loaded: ${error.message ?? error}`;
}

async function show(generator, prompt) {
  button.disabled = true;
  output.textContent = '';
  let tokens = 0;
  const streamer = new TextStreamer(generator.tokenizer, {
    skip_prompt: true,
    callback_function: (piece) => output.append(piece),
    token_callback_function: () => tokens++,
  });
  const begun = performance.now();
  await generator(prompt, { max_new_tokens: 24, do_sample: false, streamer });
  state.textContent = `${tokens} tokens, ${((1000 * tokens) / (performance.now() - begun)).toFixed(1)} a second`;
  button.disabled = false;
}
