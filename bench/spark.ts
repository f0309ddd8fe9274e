/**
 * A whole decode step at Gemma-2 2B's shape with invented weights: a Spark Transformer (d_ff 13824, of which about 1106
 * neurons are computed, r = 1024; 256 attended tokens, r = 128) against the dense Gemma 2 of as many parameters (d_ff
 * 9216). Then chunks of a prompt after as many tokens. Sessions of the native core take turns in one process.
 *
 *     node bench/run.js spark [--layers 26] [--vocab-size 256000] [--dtype int4,int8] [--vocabulary int4]
 *         [--cached 4096] [--chunk 64] [--ffn-only] [--threads 2] [--repeats 5] [--rounds 2] [--steps 4]
 *         [--genai PYTHON] [--work WORK]
 *
 * With --ffn-only attention is dense in both. PYTHON has onnxruntime-genai, which then decodes the dense folder too.
 *
 * Run it in the repository's root. Models are made in WORK/spark (.bench/spark) and used again. Codes are random bytes,
 * and each matrix has one number for all scales, so that every sum has the size of a trained model's. The output is
 * noise, but the time is real. Needs memory of twice a model's size: 2 GB for each model in int4 and 4 GB in int8, with
 * all layers.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { assemble, openModel } from '../converters/index.ts';
import { readOnnx, weightBytesOf, writeOnnx } from '../formats/onnx/index.ts';
import { byteLength, elementCount } from '../src/core/dtype.ts';
import type { Graph, Initializer } from '../src/core/graph.ts';
import type { ModelSpec } from '../src/core/model.ts';
import { choosePrecision, PRECISION_NAMES, VOCABULARY_NAMES } from '../src/core/precision.ts';
import type { Session } from '../src/core/session.ts';
import { type BlockScheme, cast, float32Tensor, storedIn, type TensorExpr } from '../src/core/tensor.ts';
import { bench } from '../src/eval/index.ts';
import { openMeasuredSession } from '../src/pipeline/engine/measured-session.ts';
import { nativePath } from '../src/pipeline/engine/native-library.ts';
import { genaiConfig } from '../src/pipeline/folder/genai-config.ts';
import { fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { openNativeSession } from '../src/runtime/index.ts';
import { type Sizes, UNREAD, unreadCheckpoint } from '../test/unread-checkpoint.ts';

const root = process.cwd();
/** The native core. */
const library = (name: string) => join(nativePath(), name);
const files = { addon: library('lacuna_node.node'), operators: library('liblacuna_ort.so') };
const { values: options } = parseArgs({
  options: {
    work: { type: 'string', default: join(root, '.bench') },
    layers: { type: 'string', default: '26' },
    'vocab-size': { type: 'string', default: '256000' },
    dtype: { type: 'string', default: 'int4,int8' },
    vocabulary: { type: 'string' },
    cached: { type: 'string', default: '4096' },
    chunk: { type: 'string', default: '64' },
    'ffn-only': { type: 'boolean', default: false },
    threads: { type: 'string', default: '2' },
    repeats: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '2' },
    steps: { type: 'string', default: '4' },
    genai: { type: 'string' },
  },
});
const work = join(options.work, 'spark');
const LAYERS = Number(options.layers);
const PROMPT_TOKENS = Number(options.cached);
const NOISE_BYTES = 256 << 20;

const common = {
  vocab_size: Number(options['vocab-size']),
  hidden_size: 2304,
  num_hidden_layers: LAYERS,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 8192,
  hidden_activation: 'gelu_pytorch_tanh',
};

/** Sizes of Spark Transformer (2506.06644, section 4), and of the dense model with as many parameters. */
const CONFIGS: Readonly<Record<'dense' | 'spark', Sizes>> = {
  dense: {
    ...common,
    model_type: 'gemma2',
    architectures: ['Gemma2ForCausalLM'],
    intermediate_size: 9216,
    layer_types: Array(LAYERS).fill('full_attention'),
  },
  spark: {
    ...common,
    model_type: 'spark',
    architectures: ['SparkForCausalLM'],
    intermediate_size: 13_824,
    ffn_predictor_size: 1024,
    ffn_active_neurons: 1106,
    ...(!options['ffn-only'] && { attention_predictor_size: 128, attended_tokens: 256 }),
    final_logit_softcapping: 30,
    attn_logit_softcapping: 50,
  },
};

/** Random bytes, 32 bits of a linear congruential generator (Numerical Recipes) at a time. */
function writeNoise(): string {
  const path = join(work, 'noise.bin');
  const words = new Uint32Array(NOISE_BYTES / 4);
  for (let i = 0, state = 1; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // The low bits of such a generator hardly vary, so the high half is mixed into them.
    words[i] = Math.imul(state ^ (state >>> 15), 2246822519);
  }
  writeFileSync(path, words);
  return path;
}

/** Gives out ranges of the noise one after the other, and starts again at the end. */
function noiseFrom(path: string) {
  let at = 0;
  let passes = 0;
  return (shape: readonly number[]): TensorExpr => {
    const length = byteLength('uint8', shape);
    if (length > NOISE_BYTES) return concatNoise(path, shape);
    // Never the same range twice, because equal weights would be written once.
    if (at + length > NOISE_BYTES) at = 64 * ++passes;
    const byteOffset = at;
    at += length;
    return { kind: 'file', path, byteOffset, name: `noise.${byteOffset}`, dtype: 'uint8', shape, mustBeFinite: false };
  };
}

/** The head is larger than the noise. */
function concatNoise(path: string, [rows, ...rest]: readonly number[]): TensorExpr {
  const step = Math.floor(NOISE_BYTES / byteLength('uint8', rest));
  const parts: TensorExpr[] = [];
  for (let row = 0; row < rows; row += step) {
    const shape = [Math.min(step, rows - row), ...rest];
    parts.push({ kind: 'file', path, byteOffset: 0, name: 'noise', dtype: 'uint8', shape, mustBeFinite: false });
  }
  return { kind: 'concat', dtype: 'uint8', shape: [rows, ...rest], parts };
}

/**
 * A product with an input of size 1 in each entry has size 1: codes are uniform, with standard deviation 2^bits /
 * sqrt(12).
 */
function scaleOf({ bits }: BlockScheme, columns: number): number {
  return Math.sqrt(12 / columns) / 2 ** bits;
}

function scalesTensor(shape: readonly number[], scheme: BlockScheme, columns: number): TensorExpr {
  return cast(float32Tensor(new Float32Array(elementCount(shape)).fill(scaleOf(scheme, columns)), shape), 'float16');
}

/** Noise in place of what would be read. */
function madeUp(data: TensorExpr, noise: (shape: readonly number[]) => TensorExpr): TensorExpr {
  if (!storedIn(data).some(({ path }) => path === UNREAD)) return data;
  if (data.kind === 'records') return { ...data, parts: data.parts.map((part) => madeUp(part, noise)) };
  if (data.kind !== 'quantize') return float32Tensor(new Float32Array(elementCount(data.shape)).fill(1), data.shape);
  if (data.dtype === 'uint8') return noise(data.shape);
  return scalesTensor(data.shape, data.scheme, data.from.shape[1]);
}

function withMadeUpWeights(graph: Graph, noise: (shape: readonly number[]) => TensorExpr): Graph {
  const initializers = graph.initializers.map(({ name, data }): Initializer => ({ name, data: madeUp(data, noise) }));
  return { ...graph, initializers };
}

const tokenAt = (index: number) => (7919 * (index + 1)) % common.vocab_size;

/** Share of neurons that a token computes, and keys that a head attends to, over the last tokens of a short prompt. */
async function realised(folder: string, { numHiddenLayers, intermediateSize, numAttentionHeads }: ModelSpec) {
  const path = join(folder, 'model.onnx');
  const session = await openMeasuredSession(path, await readOnnx(path), { native: files });
  const tokens = Array.from({ length: Math.min(PROMPT_TOKENS, 512) }, (_, index) => tokenAt(index));
  const { extras } = await session.step(tokens, session.emptyCache()).finally(() => session.close());
  const mean = (name: string, all: number) => {
    const counts = Array.from({ length: numHiddenLayers }, (_, layer) => extras[`layers.${layer}.${name}`]?.data);
    const last = counts.flatMap((data) => (data === undefined ? [] : Array.from(data, Number).slice(-64)));
    return last.reduce((sum, count) => sum + count, 0) / last.length / all;
  };
  return { kept: mean('kept', intermediateSize), attended: mean('attended_keys', numAttentionHeads) };
}

async function made(name: string, noisePath: string) {
  const dtype = z.enum(PRECISION_NAMES).parse(name);
  const vocabulary = z.enum(VOCABULARY_NAMES).optional().parse(options.vocabulary);
  const precision = choosePrecision(dtype, { vocabulary });
  if (precision.linear.kind !== 'blocks') throw new Error(`${dtype} stores no blocks`);
  const noise = noiseFrom(noisePath);
  const folders: Record<string, string> = {};
  const specs: Record<string, ModelSpec> = {};
  for (const [name, config] of Object.entries(CONFIGS)) {
    const model = openModel(unreadCheckpoint(config), { precision });
    const kind = name === 'spark' && options['ffn-only'] ? 'spark-ffn' : name;
    folders[name] = join(work, `${dtype}-${vocabulary ?? 'own'}-${LAYERS}-${common.vocab_size}-${kind}-converted`);
    specs[name] = model.spec;
    if (existsSync(join(folders[name], 'model.onnx'))) continue;
    const contender = withMadeUpWeights(fuseDecoderParts(fuseSkipNorms(assemble(model))), noise);
    mkdirSync(folders[name], { recursive: true });
    await writeOnnx(contender, join(folders[name], 'model.onnx'), { threads: 1 });
    writeFileSync(join(folders[name], 'genai_config.json'), JSON.stringify(genaiConfig(model.spec, true)));
    console.error(`${folders[name]}: ${(weightBytesOf(contender) / 1e9).toFixed(2)} GB`);
  }
  return { folders, ...(await realised(folders.spark, specs.spark)) };
}

/** Milliseconds of a chunk of a prompt after the cached tokens, the least of each model; the models take turns. */
async function chunkTimes(names: readonly string[]): Promise<readonly number[]> {
  const size = Number(options.chunk);
  const open = async (name: string) => {
    const session = await openNativeSession(name, files, { threads: Number(options.threads) });
    const prompt = Array.from({ length: PROMPT_TOKENS }, (_, index) => tokenAt(index));
    return { session, cache: (await session.step(prompt, session.emptyCache())).cache };
  };
  const opened: { session: Session; cache: Awaited<ReturnType<typeof open>>['cache'] }[] = [];
  for (const name of names) opened.push(await open(name));
  const least = names.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < Number(options.repeats); round++)
    for (const [index, one] of opened.entries()) {
      const start = performance.now();
      const tokens = Array.from({ length: size }, (_, at) => tokenAt(PROMPT_TOKENS + round * size + at));
      one.cache = (await one.session.step(tokens, one.cache)).cache;
      least[index] = Math.min(least[index], performance.now() - start);
    }
  for (const { session } of opened) await session.close();
  return least;
}

/** Sessions of these folders, in turn. */
async function time(
  [first, second]: readonly [string] | readonly [string, string],
  { repeats, rounds }: { readonly repeats: number; readonly rounds: number },
) {
  const opener = (name: string) => async () => ({
    name,
    session: await openNativeSession(name, files, { threads: Number(options.threads) }),
  });
  const stepsPerBlock = Number(options.steps);
  const count = PROMPT_TOKENS + (rounds + 1) * stepsPerBlock;
  const tokens = Array.from({ length: count }, (_, index) => tokenAt(index));
  const settings = { promptTokens: PROMPT_TOKENS, repeats, rounds, stepsPerBlock };
  return bench(second === undefined ? [opener(first)] : [opener(first), opener(second)], tokens, settings);
}

/** Runs of ours, each followed by one of onnxruntime-genai. The best blocks of each count. */
const PEER_TURNS = 5;

/** Milliseconds for a token in its best run. */
function genai(python: string, folder: string): number {
  const counts = ['--prompt', String(PROMPT_TOKENS), '--steps', '16', '--threads', options.threads];
  const args = [join(root, 'python/peers.py'), 'onnxruntime-genai', folder, '--model', 'model.onnx', ...counts];
  const output = execFileSync(python, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  return 1000 / JSON.parse(output).decodeTokensPerSecond;
}

/** The peer's time divided by the dense folder's time here, in turn, in ascending order. */
async function peerRatios(python: string, folder: string): Promise<readonly number[]> {
  const ratios: number[] = [];
  for (let turn = 0; turn < PEER_TURNS; turn++) {
    const [ours] = (await time([folder], inTurn)).subjects;
    ratios.push((genai(python, folder) * ours.decodeTokensPerSecond.p90) / 1000);
  }
  return ratios.toSorted((one, other) => one - other);
}

if (!existsSync(files.addon)) {
  console.error('Build the native core first: npm run build:native');
  process.exit(2);
}
mkdirSync(work, { recursive: true });
const counts = { repeats: Number(options.repeats), rounds: Number(options.rounds) };
/** The same number of rounds. The peer also opened its session only once. */
const inTurn = { repeats: 1, rounds: counts.repeats * counts.rounds };
const noisePath = writeNoise();
console.log(`${LAYERS} layers, ${options.threads} threads, ${PROMPT_TOKENS} cached tokens and more\n`);
console.log(
  `| weights | neurons kept | attended keys | dense ms/token | Spark ms/token | dense / Spark (p10-p90) | ` +
    `${options.chunk} tokens, dense ms | ${options.chunk} tokens, Spark ms | dense / Spark |`,
);
console.log('|---|---|---|---|---|---|---|---|---|');
for (const dtype of options.dtype.split(',')) {
  const { folders, kept, attended } = await made(dtype, noisePath);
  const { subjects, speedup } = await time([folders.dense, folders.spark], counts);
  const [dense, spark] = subjects.map((subject) => (1000 / subject.decodeTokensPerSecond.median).toFixed(1));
  const ratio = speedup && [speedup.median, speedup.p10, speedup.p90].map((value) => value.toFixed(2));
  const shown = ratio === null ? '' : `${ratio[0]} (${ratio[1]}-${ratio[2]})`;
  const keys = options['ffn-only'] ? 'all' : attended.toFixed(0);
  const [denseChunk, sparkChunk] = await chunkTimes([folders.dense, folders.spark]);
  const chunks = [denseChunk.toFixed(0), sparkChunk.toFixed(0), (denseChunk / sparkChunk).toFixed(2)].join(' | ');
  console.log(`| ${dtype} | ${(100 * kept).toFixed(1)} % | ${keys} | ${dense} | ${spark} | ${shown} | ${chunks} |`);
  if (options.genai === undefined) continue;
  const shownAs = `onnxruntime-genai / dense, ${dtype}`;
  try {
    const sorted = (await peerRatios(options.genai, folders.dense)).map((ratio) => ratio.toFixed(2));
    console.log(`\n${shownAs}: ${sorted[Math.floor(PEER_TURNS / 2)]} (${sorted[0]}-${sorted.at(-1)})\n`);
  } catch (error) {
    console.log(`\n${shownAs}: not timed, ${error instanceof Error ? error.message : error}\n`);
  }
}
