// Memory of `lacuna convert` against the size of the model: synthetic checkpoints in the shapes of published ones, up
// to four billion parameters, written in shards and deleted afterwards.
//
//     node bench/memory.js [--dtype fp32,int4] [--up-to 4] [--threads N] [--plot docs/convert-memory.svg] [--work WORK]
//
// --up-to is in billions of parameters. Everything is made in WORK/memory and removed.
//
// Needs 6 bytes of disk for each parameter for fp32. Prints a Markdown table; memory is the high-water mark of the
// process.
import { closeSync, mkdirSync, openSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { measure, readOptions, root, WORK } from './harness.js';

const options = readOptions({ dtype: 'fp32,int4', 'up-to': '4', threads: undefined, plot: undefined, work: WORK });
const work = join(options.work, 'memory');

/** Hidden size, FFN size, layers, query heads, key heads, head size, vocabulary. */
const SHAPES = {
  'SmolLM2 135M': [576, 1536, 30, 9, 3, 64, 49_152],
  'Gemma 3 270M': [640, 2048, 18, 4, 1, 256, 262_144],
  'Gemma 3 1B': [1152, 6912, 26, 4, 1, 256, 262_144],
  'Llama 3.2 3B': [3072, 8192, 28, 24, 8, 128, 128_256],
  'Gemma 3 4B': [2560, 10_240, 34, 8, 4, 256, 262_208],
};

/** Bytes in one file. Published checkpoints have some 5 GB. */
const SHARD_BYTES = 2e9;

function configOf([hidden, ffn, layers, heads, kvHeads, head, vocab]) {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocab,
    hidden_size: hidden,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: head,
    max_position_embeddings: 131_072,
    tie_word_embeddings: true,
  };
}

function tensorsOf([hidden, ffn, layers, heads, kvHeads, head, vocab]) {
  const tensors = [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ['model.norm.weight', [hidden]],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const shapes = {
      'self_attn.q_proj': [heads * head, hidden],
      'self_attn.k_proj': [kvHeads * head, hidden],
      'self_attn.v_proj': [kvHeads * head, hidden],
      'self_attn.o_proj': [hidden, heads * head],
      'mlp.gate_proj': [ffn, hidden],
      'mlp.up_proj': [ffn, hidden],
      'mlp.down_proj': [hidden, ffn],
      input_layernorm: [hidden],
      post_attention_layernorm: [hidden],
    };
    for (const [name, shape] of Object.entries(shapes)) tensors.push([`model.layers.${layer}.${name}.weight`, shape]);
  }
  return tensors;
}

const bytesOf = ([, shape]) => 2 * shape.reduce((product, dim) => product * dim, 1);

/** Tensors in files of at most `SHARD_BYTES`, or of one tensor. */
function shardsOf(tensors) {
  const shards = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + bytesOf(tensor) > SHARD_BYTES) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1).push(tensor);
    bytes += bytesOf(tensor);
  }
  return shards;
}

/** bfloat16 noise around zero, like weights, repeated. */
function noise() {
  const values = new Uint16Array(4 << 20);
  for (let i = 0; i < values.length; i++) {
    const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    values[i] = new Uint32Array(Float32Array.of(0.02 * normal).buffer)[0] >>> 16;
  }
  return new Uint8Array(values.buffer);
}

function writeShard(path, tensors, filling) {
  const header = {};
  let end = 0;
  for (const tensor of tensors) {
    const [name, shape] = tensor;
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, end + bytesOf(tensor)] };
    end += bytesOf(tensor);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(path, 'w');
  writeSync(file, length);
  writeSync(file, text);
  for (let left = end; left > 0; left -= filling.length) writeSync(file, filling, 0, Math.min(left, filling.length));
  closeSync(file);
}

function parametersOf(shape) {
  return tensorsOf(shape).reduce((sum, tensor) => sum + bytesOf(tensor) / 2, 0);
}

function writeCheckpoint(folder, shape, filling) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(configOf(shape)));
  const shards = shardsOf(tensorsOf(shape));
  const weightMap = {};
  for (const [i, tensors] of shards.entries()) {
    const name = `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`;
    writeShard(join(folder, name), tensors, filling);
    for (const [tensor] of tensors) weightMap[tensor] = name;
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
}

/** Memory over parameters, both linear from zero: one line for each precision. */
function plot(rows, dtypes) {
  const [width, height, left, bottom] = [720, 360, 70, 50];
  const most = Math.max(400, ...rows.flatMap(({ results }) => results.map(({ peak }) => peak))) * 1.1;
  const widest = Math.max(...rows.map(({ parameters }) => parameters)) * 1.05;
  const x = (parameters) => left + (parameters / widest) * (width - left - 20);
  const y = (megabytes) => height - bottom - (megabytes / most) * (height - bottom - 20);
  const colours = ['#1f6feb', '#d1242f', '#1a7f37', '#8250df'];
  const lines = dtypes.map((dtype, i) => {
    const points = rows.map(({ parameters, results }) => [x(parameters), y(results[i].peak)]);
    const path = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(' ');
    const dots = points.map(([px, py]) => `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="3.5"/>`).join('');
    const label = `<text x="${width - 24}" y="${(points.at(-1)[1] - 10).toFixed(1)}" text-anchor="end">${dtype}</text>`;
    return `<g fill="${colours[i]}"><polyline points="${path}" fill="none" stroke="${colours[i]}" stroke-width="2"/>${dots}${label}</g>`;
  });
  const grid = [];
  for (let megabytes = 0; megabytes <= most; megabytes += 100)
    grid.push(
      `<line x1="${left}" x2="${width - 20}" y1="${y(megabytes)}" y2="${y(megabytes)}" stroke="#d0d7de"/>` +
        `<text x="${left - 8}" y="${y(megabytes) + 4}" text-anchor="end">${megabytes}</text>`,
    );
  for (let billions = 0; billions * 1e9 <= widest; billions++)
    grid.push(
      `<text x="${x(billions * 1e9)}" y="${height - bottom + 18}" text-anchor="middle">${billions} billion</text>`,
    );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<title>Peak memory of convert against parameters</title>
<rect width="${width}" height="${height}" fill="white"/>
<text x="${left}" y="14">peak memory of convert, MB</text>
<text x="${width - 20}" y="${height - 12}" text-anchor="end">parameters</text>
${[...grid, ...lines].join('\n')}
</svg>
`;
}

const dtypes = options.dtype.split(',');
const threads = options.threads === undefined ? [] : ['--threads', options.threads];
const filling = noise();
const node = await measure([process.execPath, '-e', '0']);
const rows = [];
rmSync(work, { recursive: true, force: true });
for (const [name, shape] of Object.entries(SHAPES)) {
  const parameters = parametersOf(shape);
  if (parameters > Number(options['up-to']) * 1e9) continue;
  const [checkpoint, output] = [join(work, 'checkpoint'), join(work, 'output')];
  writeCheckpoint(checkpoint, shape, filling);
  const convert = [process.execPath, join(root, 'bin/lacuna.js'), 'convert', checkpoint, '-o', output, '--quiet'];
  const results = [];
  for (const dtype of dtypes) {
    const { seconds, peak } = await measure([...convert, '--dtype', dtype, ...threads]);
    results.push({ seconds, peak, bytes: statSync(join(output, 'onnx/model.onnx_data')).size });
    rmSync(output, { recursive: true });
  }
  rows.push({ name, parameters, results });
  console.error(`${name}: ${results.map(({ peak, seconds }) => `${peak.toFixed(0)} MB, ${seconds.toFixed(1)} s`)}`);
  rmSync(work, { recursive: true });
}

console.log(
  `Node alone: ${node.peak.toFixed(0)} MB; threads: ${options.threads ?? Math.min(4, availableParallelism())}\n`,
);
console.log(`| shapes of | parameters | ${dtypes.map((dtype) => `${dtype}: peak MB | s | GB written`).join(' | ')} |`);
console.log(`|---|---|${dtypes.map(() => '---|---|---|').join('')}`);
for (const { name, parameters, results } of rows) {
  const cells = results.map(
    ({ peak, seconds, bytes }) => `${peak.toFixed(0)} | ${seconds.toFixed(1)} | ${(bytes / 1e9).toFixed(2)}`,
  );
  console.log(`| ${name} | ${(parameters / 1e9).toFixed(2)} billion | ${cells.join(' | ')} |`);
}
if (options.plot !== undefined) writeFileSync(options.plot, plot(rows, dtypes));
