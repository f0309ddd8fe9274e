/**
 * What `lacuna calibrate` takes: memory against the size of the checkpoint, and time against a plain forward pass of
 * the same model over the same tokens. Prints two tables.
 *
 *     node bench/run.js calibrate [--shape 2048x8192] [--layers 8,32] [--model DIR] [--tokens 4096] [--rounds 5]
 *         [--threads 2] [--parts memory,speed] [--work WORK]
 *
 * Run it in the repository's root, after `npm run build`. Memory is the high-water mark of the process (Linux), of
 * random checkpoints in bfloat16, made in WORK/calibrate and removed: 2 bytes of disk for each parameter. The forward
 * pass runs the dense fp32 folder without its head in stock ONNX Runtime; opening the folder is not timed. Of
 * `calibrate`, as it is in dist/, everything is: reading texts and layers, and writing the statistics. The two take turns.
 * "Times as long" is the median of the rounds' ratios, which other work on the machine changes less than the times.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { cutSequences } from '../calibrate/index.ts';
import { partThatMakes } from '../calibrate/walk.ts';
import { encodeModel } from '../formats/onnx/index.ts';
import { HEAD_TAP } from '../src/core/model.ts';
import type { RuntimeTensor } from '../src/core/runner.ts';
import { type CalibrateOptions, calibrationInput } from '../src/pipeline/calibrate.ts';
import { convert } from '../src/pipeline/convert.ts';
import { openModelFolder } from '../src/pipeline/folder/model-folder.ts';
import { openPieces } from '../src/pipeline/folder/source.ts';
import { STATISTICS } from '../src/pipeline/texts/texts.ts';
import { createOpenGraph } from '../src/runtime/index.ts';

const root = process.cwd();
const { values: options } = parseArgs({
  options: {
    shape: { type: 'string', default: '2048x8192' },
    layers: { type: 'string', default: '8,32' },
    model: { type: 'string', default: join(root, 'fixtures/real/models/smollm2-135m') },
    tokens: { type: 'string', default: '4096' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    parts: { type: 'string', default: 'memory,speed' },
    work: { type: 'string', default: join(root, '.bench') },
  },
});
const work = join(options.work, 'calibrate');
const [tokens, threads] = [Number(options.tokens), Number(options.threads)];
const parts = options.parts.split(',');

const printTable = (rows: readonly (readonly string[])[]) => {
  const [titles, ...others] = rows;
  for (const cells of [titles, titles.map(() => '---'), ...others]) console.log(`| ${cells.join(' | ')} |`);
  console.log();
};

// Memory

const HEAD_SIZE = 64;
/** The tokenizer of fixtures/tiny-llama. */
const VOCABULARY = 2048;
const TOKENIZER = join(root, 'fixtures/tiny-llama/tokenizer.json');

/** Prints the most memory that a process had, when it ends. */
const PRINT_PEAK = `data:text/javascript,import { readFileSync } from 'node:fs';
  process.on('exit', () => console.error(/VmHWM:.*/.exec(readFileSync('/proc/self/status', 'utf8'))[0]))`;

function tensorsOf(hidden: number, neurons: number, layers: number): [string, readonly number[]][] {
  const square = [hidden, hidden];
  const ofLayer = {
    ...Object.fromEntries(['q', 'k', 'v', 'o'].map((name) => [`self_attn.${name}_proj`, square])),
    'mlp.gate_proj': [neurons, hidden],
    'mlp.up_proj': [neurons, hidden],
    'mlp.down_proj': [hidden, neurons],
    input_layernorm: [hidden],
    post_attention_layernorm: [hidden],
  };
  return [
    ['model.embed_tokens.weight', [VOCABULARY, hidden]],
    ['model.norm.weight', [hidden]],
    ...Array.from({ length: layers }, (_, layer) =>
      Object.entries(ofLayer).map(([name, shape]): [string, readonly number[]] => [
        `model.layers.${layer}.${name}.weight`,
        shape,
      ]),
    ).flat(),
  ];
}

/** bfloat16 noise around zero, like weights, repeated. */
function noise(): Uint8Array {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const floats = Float32Array.from({ length: 1 << 19 }, () => 0.02 * normal());
  return new Uint8Array(Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16).buffer);
}

/** Writes a checkpoint. Returns its bytes. */
function writeCheckpoint(folder: string, hidden: number, neurons: number, layers: number): number {
  mkdirSync(folder, { recursive: true });
  copyFileSync(TOKENIZER, join(folder, 'tokenizer.json'));
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: VOCABULARY,
    hidden_size: hidden,
    intermediate_size: neurons,
    num_hidden_layers: layers,
    num_attention_heads: hidden / HEAD_SIZE,
    num_key_value_heads: hidden / HEAD_SIZE,
    max_position_embeddings: 4096,
    tie_word_embeddings: true,
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  const header: Record<string, object> = {};
  let end = 0;
  for (const [name, shape] of tensorsOf(hidden, neurons, layers)) {
    const bytes = 2 * shape.reduce((product, length) => product * length, 1);
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const path = join(folder, 'model.safetensors');
  const file = openSync(path, 'w');
  writeSync(file, length);
  writeSync(file, text);
  const filling = noise();
  for (let left = end; left > 0; left -= filling.length) writeSync(file, filling, 0, Math.min(left, filling.length));
  closeSync(file);
  return statSync(path).size;
}

/** The most memory of `lacuna calibrate`, in bytes. */
function peakOf(checkpoint: string, output: string): number {
  const command = ['calibrate', checkpoint, '-o', output, '--tokens', options.tokens, '--threads', options.threads];
  const args = ['--import', PRINT_PEAK, join(root, 'bin/lacuna.js'), ...command, '--quiet'];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`lacuna ${command.join(' ')} ended with ${status}\n${stderr}`);
  return Number(/VmHWM:\s+(\d+) kB/.exec(stderr)?.[1]) * 1024;
}

function measureMemory(): void {
  const [hidden, neurons] = options.shape.split('x').map(Number);
  const folder = join(work, 'memory');
  const rows = options.layers.split(',').map((layers) => {
    rmSync(folder, { recursive: true, force: true });
    const size = writeCheckpoint(join(folder, 'checkpoint'), hidden, neurons, Number(layers));
    const peak = peakOf(join(folder, 'checkpoint'), join(folder, 'statistics.json'));
    rmSync(folder, { recursive: true });
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
    return [layers, gigabytes(size), gigabytes(peak), `${((100 * peak) / size).toFixed(0)} %`];
  });
  printTable([[`layers of ${options.shape}`, 'checkpoint, GB', 'peak memory, GB', 'of the checkpoint'], ...rows]);
}

// Speed

async function timeRounds(): Promise<void> {
  const model = basename(resolve(options.model));
  const [dense, output] = [join(work, model, 'dense'), join(work, model, 'statistics.json')];
  // Without threads, which need the built package.
  if (!existsSync(dense)) await convert({ checkpoint: options.model, output: dense, dtype: 'fp32', threads: 1 });
  const { checkpoint, pieces } = await openPieces(options.model, {});
  const { spec } = pieces;
  const { mine } = cutSequences(await calibrationInput(checkpoint, STATISTICS, { tokens }), spec);
  const graph = partThatMakes((await openModelFolder(dense)).graph, HEAD_TAP, spec.hiddenSize);
  const runner = await createOpenGraph({ encode: encodeModel, threads })(graph);
  const dims = [1, spec.numKeyValueHeads, 0, spec.headDim];
  const empty: RuntimeTensor = { dtype: 'float32', dims, data: new Float32Array(0) };
  const caches = graph.inputs.filter(({ name }) => name.startsWith('past_key_values.'));
  const cache = Object.fromEntries(caches.map(({ name }) => [name, empty]));
  const forward = async () => {
    for (const { tokens: ids } of mine) {
      const input = (data: BigInt64Array): RuntimeTensor => ({ dtype: 'int64', dims: [1, ids.length], data });
      const input_ids = input(BigInt64Array.from(ids, BigInt));
      await runner.run({ ...cache, input_ids, attention_mask: input(new BigInt64Array(ids.length).fill(1n)) });
    }
  };
  // Only the built package has threads.
  const built = await import(pathToFileURL(join(root, 'dist/src/index.js')).href);
  const calibrate: (options: CalibrateOptions) => Promise<unknown> = built.calibrate;
  const measured = () => calibrate({ checkpoint: options.model, output, tokens, threads, force: true });
  const seconds: [number[], number[]] = [[], []];
  for (let round = 0; round < Number(options.rounds); round++)
    for (const [i, work] of [forward, measured].entries()) {
      const started = performance.now();
      await work();
      seconds[i].push((performance.now() - started) / 1000);
    }
  await runner.close();
  const count = mine.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
  const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
  const [plain, whole] = seconds.map(median);
  const ratio = median(seconds[1].map((time, round) => time / seconds[0][round]));
  printTable([
    [`${model}, ${count} tokens, ${threads} thread(s)`, 'tokens/s', 'times as long'],
    ['forward pass', (count / plain).toFixed(0), '1.00'],
    ['calibrate', (count / whole).toFixed(0), ratio.toFixed(2)],
  ]);
}

mkdirSync(work, { recursive: true });
if (parts.includes('memory')) measureMemory();
if (parts.includes('speed')) await timeRounds();
