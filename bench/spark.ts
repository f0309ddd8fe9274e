/**
 * A whole decode step at Gemma-2 2B's shape with invented weights: Spark Transformer's FFN (d_ff 13824, of which about
 * 1106 neurons are computed, r = 1024) against a dense FFN with as many parameters (d_ff 9216). Attention, norms and
 * head are the same. Sessions of the native core take turns in one process.
 *
 *     node bench/run.js spark [--layers 26] [--vocab-size 256000] [--dtype int4,int8] [--vocabulary int4]
 *         [--threads 2] [--repeats 5] [--rounds 2] [--steps 4] [--genai PYTHON] [--work WORK]
 *
 * PYTHON has onnxruntime-genai, which then decodes the dense folder too.
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
import { encodeModel, weightBytesOf, writeOnnx } from '../formats/onnx/index.ts';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { byteLength, elementCount } from '../src/core/dtype.ts';
import { BASE_OPSETS, type Graph, type Initializer, LACUNA_DOMAIN, type Node } from '../src/core/graph.ts';
import { value } from '../src/core/graph-builder.ts';
import { choosePrecision, PRECISION_NAMES, VOCABULARY_NAMES } from '../src/core/precision.ts';
import {
  type BlockScheme,
  cast,
  float32Tensor,
  quantizedParts,
  storedIn,
  type TensorExpr,
} from '../src/core/tensor.ts';
import { bench } from '../src/eval/index.ts';
import {
  Bodies,
  type GatedFfnVariant,
  gatedFfnBody,
  gatedFfnNode,
  neuronRecords,
  recordedBy,
} from '../src/ops/index.ts';
import { nativePath } from '../src/pipeline/engine/native-library.ts';
import { genaiConfig } from '../src/pipeline/folder/genai-config.ts';
import { indexGraph, replaceNodes } from '../src/rewrite/graph-index.ts';
import { fuseDecoderParts, fuseSkipNorms } from '../src/rewrite/index.ts';
import { matchFfn } from '../src/rewrite/match-ffn.ts';
import { createOpenGraph, openNativeSession } from '../src/runtime/index.ts';
import { PLAIN } from './ffn-blocks.ts';

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
    threads: { type: 'string', default: '2' },
    repeats: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '2' },
    steps: { type: 'string', default: '4' },
    genai: { type: 'string' },
  },
});
const work = join(options.work, 'spark');
const LAYERS = Number(options.layers);

/** Spark Transformer's sizes (2506.06644, section 4). */
const SPARK = { hidden: 2304, gateInputs: 1024, neurons: 13824 };
/** Q(1 - 1106 / 13824). */
const QUANTILE = 1.405072;
const BY_GATE = { measure: 'gate', cut: 'deviation', mode: 'soft' } as const;
const PROMPT_TOKENS = 128;
const NOISE_BYTES = 256 << 20;
/** The file with the checkpoint's tensors. */
const UNREAD = 'unread';

const config = {
  model_type: 'gemma2',
  architectures: ['Gemma2ForCausalLM'],
  vocab_size: Number(options['vocab-size']),
  hidden_size: SPARK.hidden,
  intermediate_size: 9216,
  num_hidden_layers: LAYERS,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
};

/** Every tensor that the config asks for, in a file that is never read. */
function checkpoint(): Checkpoint {
  const { hidden_size: h, intermediate_size: f, num_attention_heads: q, num_key_value_heads: kv, head_dim: d } = config;
  const shapes: Record<string, readonly number[]> = {
    'model.embed_tokens.weight': [config.vocab_size, h],
    'model.norm.weight': [h],
  };
  for (let layer = 0; layer < LAYERS; layer++) {
    const prefix = `model.layers.${layer}`;
    for (const [name, shape] of Object.entries({
      'self_attn.q_proj': [q * d, h],
      'self_attn.k_proj': [kv * d, h],
      'self_attn.v_proj': [kv * d, h],
      'self_attn.o_proj': [h, q * d],
      'mlp.gate_proj': [f, h],
      'mlp.up_proj': [f, h],
      'mlp.down_proj': [h, f],
      input_layernorm: [h],
      post_attention_layernorm: [h],
      pre_feedforward_layernorm: [h],
      post_feedforward_layernorm: [h],
    }))
      shapes[`${prefix}.${name}.weight`] = shape;
  }
  const tensors = Object.entries(shapes).map(([name, shape]): [string, TensorExpr] => [
    name,
    { kind: 'file', path: UNREAD, byteOffset: 0, name, dtype: 'bfloat16', shape, mustBeFinite: false },
  ]);
  const nothing = { path: 'synthetic', generationConfig: undefined, files: new Map(), fingerprint: '' };
  return { ...nothing, config, tensors: new Map(tensors) };
}

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

/** A graph with noise in place of its weights. */
function madeUp(graph: Graph, noise: (shape: readonly number[]) => TensorExpr): Graph {
  const replace = ({ name, data }: Initializer): Initializer => {
    if (!storedIn(data).some(({ path }) => path === UNREAD)) return { name, data };
    if (data.kind !== 'quantize')
      return { name, data: float32Tensor(new Float32Array(elementCount(data.shape)).fill(1), data.shape) };
    if (data.part === 'codes') return { name, data: noise(data.shape) };
    return { name, data: scalesTensor(data.shape, data.scheme, data.from.shape[1]) };
  };
  return { ...graph, initializers: graph.initializers.map(replace) };
}

function sparkVariant({ bits }: BlockScheme, rest: Partial<GatedFfnVariant>): GatedFfnVariant {
  return {
    ...PLAIN,
    choice: BY_GATE,
    storage: bits === 4 ? 'int4' : 'int8',
    split: true,
    gather: true,
    activation: 'gelu_tanh',
    ...rest,
  };
}

/** The same model with Spark Transformer's FFN in each layer. */
function withSparkFfn(graph: Graph, scheme: BlockScheme, noise: (shape: readonly number[]) => TensorExpr): Graph {
  const index = indexGraph(graph);
  const variant = sparkVariant(scheme, { postNorm: true });
  const bodies = new Bodies(graph.functions);
  const opType = bodies.opTypeOf(gatedFfnBody(variant));
  const replacements = new Map<Node, readonly Node[]>();
  const initializers: Initializer[] = [];
  const dropped = new Set<string>();
  for (let layer = 0; layer < LAYERS; layer++) {
    const match = matchFfn(index, layer);
    if (match.kind === 'refused') throw new Error(match.reason);
    const weights = sparkWeights(`layers.${layer}.spark`, scheme, noise);
    initializers.push(...weights);
    const inputs = Object.fromEntries(weights.map(({ name }) => [name.split('.').at(-1), name]));
    const node = gatedFfnNode(variant, {
      node: `layers.${layer}.ffn.spark`,
      opType,
      inputs: { x: match.x, ...inputs, post_norm: match.postNorm?.weight },
      outputs: { y: match.output },
      quantile: QUANTILE,
      sizes: SPARK,
      postEpsilon: match.postNorm?.epsilon,
    });
    const [first, ...others] = match.nodes;
    for (const old of others) replacements.set(old, []);
    // GatedFFN includes the norm that makes x, but this block reads x itself, so the norm comes first.
    replacements.set(first, match.norm === undefined ? [node] : [first, node]);
    for (const { weight } of [match.gate, match.up, match.down])
      for (const old of [weight.data, weight.scales]) if (old !== undefined) dropped.add(old.name);
  }
  const kept = graph.initializers.filter(({ name }) => !dropped.has(name));
  return {
    ...replaceNodes(graph, replacements),
    initializers: [...kept, ...initializers],
    functions: bodies.functions,
    opsets: { ...graph.opsets, [LACUNA_DOMAIN]: 1 },
  };
}

/** All inputs of such an FFN, by name. */
function sparkWeights(
  prefix: string,
  scheme: BlockScheme,
  noise: (shape: readonly number[]) => TensorExpr,
): Initializer[] {
  const { hidden, gateInputs, neurons } = SPARK;
  /** Codes and scales of a matrix whose products have this number of terms. */
  const matrix = (shape: readonly number[], terms = shape[1]) => {
    const { codes, scales } = quantizedParts(shape, scheme);
    return [noise(codes.shape), scalesTensor(scales.shape, scheme, terms)];
  };
  const up = matrix([neurons, hidden - gateInputs]);
  // A body has `down` in 8 bits if it is in records.
  const { codes, scales } = quantizedParts([hidden, neurons], { ...scheme, bits: 8 });
  const down = [noise(codes.shape), scalesTensor(scales.shape, { ...scheme, bits: 8 }, neurons)];
  const matrices = { gate: matrix([neurons, gateInputs]), up, down };
  const rows = { gate: [], up, down: matrix([neurons, hidden], neurons) };
  return [
    ...Object.entries(matrices).flatMap(([name, [codes, scales]]) => [
      { name: `${prefix}.${name}`, data: codes },
      { name: `${prefix}.${name}_scales`, data: scales },
    ]),
    { name: `${prefix}.records`, data: neuronRecords(recordedBy(BY_GATE), neurons, rows) },
  ];
}

/** Share of neurons that such an FFN chooses, over tokens with normally distributed entries. */
async function keptShare(scheme: BlockScheme, noise: (shape: readonly number[]) => TensorExpr): Promise<number> {
  const variant = sparkVariant(scheme, { counted: true });
  const bodies = new Bodies([]);
  const weights = sparkWeights('', scheme, noise).map(({ name, data }) => ({ name: name.slice(1), data }));
  const inputs = { x: 'x', ...Object.fromEntries(weights.map(({ name }) => [name, name])) };
  const node = gatedFfnNode(variant, {
    node: 'ffn',
    opType: bodies.opTypeOf(gatedFfnBody(variant)),
    inputs,
    outputs: { y: 'y', kept: 'kept' },
    quantile: QUANTILE,
    sizes: SPARK,
  });
  const runner = await createOpenGraph({ encode: encodeModel, threads: Number(options.threads) })({
    name: 'kept',
    inputs: [value('x', 'float32', [1, 'tokens', SPARK.hidden])],
    outputs: [value('kept', 'int32', [1, 'tokens'])],
    initializers: weights,
    nodes: [node],
    functions: bodies.functions,
    opsets: { ...BASE_OPSETS, [LACUNA_DOMAIN]: 1 },
    metadata: {},
  });
  const tokens = 16;
  const data = Float32Array.from({ length: tokens * SPARK.hidden }, gaussian);
  const { kept } = await runner.run({ x: { dtype: 'float32', dims: [1, tokens, SPARK.hidden], data } });
  await runner.close();
  return Array.from(kept.data as Int32Array).reduce((sum, count) => sum + count, 0) / tokens / SPARK.neurons;
}

/** Normally distributed (Box and Muller). */
function gaussian(): number {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

async function made(name: string, noisePath: string) {
  const dtype = z.enum(PRECISION_NAMES).parse(name);
  const vocabulary = z.enum(VOCABULARY_NAMES).optional().parse(options.vocabulary);
  const precision = choosePrecision(dtype, { vocabulary });
  if (precision.linear.kind !== 'blocks') throw new Error(`${dtype} stores no blocks`);
  const noise = noiseFrom(noisePath);
  const scheme = precision.linear;
  const model = openModel(checkpoint(), { precision });
  const graph = fuseSkipNorms(assemble(model));
  const whole = { dense: graph, spark: withSparkFfn(graph, scheme, noise) };
  const folders: Record<string, string> = {};
  for (const [name, parts] of Object.entries(whole)) {
    const contender = madeUp(fuseDecoderParts(parts), noise);
    folders[name] = join(work, `${dtype}-${vocabulary ?? 'own'}-${LAYERS}-${config.vocab_size}-${name}`);
    if (existsSync(join(folders[name], 'model.onnx'))) continue;
    mkdirSync(folders[name], { recursive: true });
    await writeOnnx(contender, join(folders[name], 'model.onnx'), { threads: 1 });
    writeFileSync(join(folders[name], 'genai_config.json'), JSON.stringify(genaiConfig(model.spec, true)));
    console.error(`${folders[name]}: ${(weightBytesOf(contender) / 1e9).toFixed(2)} GB`);
  }
  return { folders, kept: await keptShare(scheme, noise) };
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
  const tokens = Array.from({ length: count }, (_, index) => (7919 * (index + 1)) % config.vocab_size);
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
console.log('| weights | neurons kept | dense ms/token | Spark ms/token | dense / Spark (p10-p90) |');
console.log('|---|---|---|---|---|');
for (const dtype of options.dtype.split(',')) {
  const { folders, kept } = await made(dtype, noisePath);
  const { subjects, speedup } = await time([folders.dense, folders.spark], counts);
  const [dense, spark] = subjects.map((subject) => (1000 / subject.decodeTokensPerSecond.median).toFixed(1));
  const ratio = speedup && [speedup.median, speedup.p10, speedup.p90].map((value) => value.toFixed(2));
  const shown = ratio === null ? '' : `${ratio[0]} (${ratio[1]}-${ratio[2]})`;
  console.log(`| ${dtype} | ${(100 * kept).toFixed(1)} % | ${dense} | ${spark} | ${shown} |`);
  if (options.genai === undefined) continue;
  const shownAs = `onnxruntime-genai / dense, ${dtype}`;
  try {
    const sorted = (await peerRatios(options.genai, folders.dense)).map((ratio) => ratio.toFixed(2));
    console.log(`\n${shownAs}: ${sorted[Math.floor(PEER_TURNS / 2)]} (${sorted[0]}-${sorted.at(-1)})\n`);
  } catch (error) {
    console.log(`\n${shownAs}: not timed, ${error instanceof Error ? error.message : error}\n`);
  }
}
