// Runs in a page: a folder's model in onnxruntime-web on the CPU, its cache fed by hand.
import * as ort from 'onnxruntime-web/wasm';

ort.env.wasm.wasmPaths = '/onnxruntime-web/';
ort.env.wasm.numThreads = 1;

/** The likeliest token `count` times over, and of each the logits that it was chosen from. */
export async function generate(folder, promptIds, count) {
  const session = await ort.InferenceSession.create(`${folder}/onnx/model.onnx`, {
    externalData: [{ path: 'model.onnx_data', data: `${folder}/onnx/model.onnx_data` }],
  });
  const tokens = [];
  const logits = [];
  let feed = promptIds;
  let cache = emptyCache(session);
  while (tokens.length < count) {
    const total = promptIds.length + tokens.length;
    const outputs = await session.run({
      input_ids: new ort.Tensor('int64', BigInt64Array.from(feed, BigInt), [1, feed.length]),
      attention_mask: new ort.Tensor('int64', new BigInt64Array(total).fill(1n), [1, total]),
      ...cache,
    });
    const last = Array.from(outputs.logits.data.slice(-outputs.logits.dims[2]));
    logits.push(last);
    tokens.push(last.reduce((best, logit, id) => (logit > last[best] ? id : best), 0));
    feed = tokens.slice(-1);
    cache = Object.fromEntries(
      Object.keys(cache).map((name) => [name, outputs[name.replace('past_key_values', 'present')]]),
    );
  }
  await session.release();
  return { tokens, logits };
}

function emptyCache({ inputMetadata }) {
  const caches = inputMetadata.filter(({ name }) => name.startsWith('past_key_values.'));
  return Object.fromEntries(
    caches.map(({ name, type, shape: [, heads, , width] }) => [name, new ort.Tensor(type, [], [1, heads, 0, width])]),
  );
}
