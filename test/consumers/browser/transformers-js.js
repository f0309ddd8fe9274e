// Runs in a page: transformers.js told nothing but where the folders are; all else it finds in them.
import { env, pipeline } from '@huggingface/transformers';

env.allowLocalModels = false;
env.remoteHost = `${location.origin}/folders/`;
env.remotePathTemplate = '{model}/';
env.useBrowserCache = false;
env.useWasmCache = false;
env.backends.onnx.wasm.wasmPaths = '/onnxruntime-web/';
env.backends.onnx.wasm.numThreads = 1;

export async function generate(folder, prompt, count) {
  const generator = await pipeline('text-generation', folder, { device: 'wasm' });
  const [answer] = await generator(prompt, { max_new_tokens: count, do_sample: false, return_full_text: false });
  await generator.dispose();
  return answer.generated_text;
}
