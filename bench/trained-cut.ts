/**
 * FFNs that were trained to be sparse, at the shape of Gemma 3n E2B's: as GatedFFN, which reads the rows of neurons whose
 * gates are left, against the same FFN without a cut. Prints the table of docs/gemma-3n.md. With --relu the gates are those
 * of ProSparse: FATReLU, whose threshold leaves 11 % of them (docs/relu.md).
 *
 *     node bench/run.js trained-cut --python PATH [--library FILE] [--dtype fp32] [--threads 2] [--rounds 30]
 *         [--layers 4] [--relu] [--shape 2048x8192]
 *
 * Python needs onnxruntime and NumPy (fixtures/oracle/requirements.txt). Converters and rewrites make the blocks as they make
 * those of a model, of made-up weights. The blocks together are larger than the caches.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import type { Activation } from '../converters/blocks/activation.ts';
import { trainedQuantile } from '../converters/blocks/gate-cut.ts';
import { gatedMlp } from '../converters/blocks/gated-mlp.ts';
import type { DecoderParts } from '../converters/blocks/parts.ts';
import { rmsNorm } from '../converters/blocks/rms-norm.ts';
import { writeOnnx } from '../formats/onnx/index.ts';
import type { Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { tapName } from '../src/core/model.ts';
import { normalQuantile } from '../src/core/normal-quantile.ts';
import { choosePrecision, HOST_DTYPES } from '../src/core/precision.ts';
import { float32Tensor } from '../src/core/tensor.ts';
import { nativePath } from '../src/pipeline/engine/native-library.ts';
import { fuseDecoderParts } from '../src/rewrite/index.ts';

/** Gemma 3n E2B: 95 % of the gates are cut in the first ten layers. */
const SHAPE = '2048x8192';
const SPARSITY = 0.95;
/** ProSparse-LLaMA-2-7B: the share of activations that are 0 (Song et al. 2024, abstract). */
const ZEROS = 0.8932;
const { values: options } = parseArgs({
  options: {
    python: { type: 'string', default: 'python3' },
    library: { type: 'string', default: join(nativePath(), 'liblacuna_ort.so') },
    dtype: { type: 'string', default: 'fp32' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '30' },
    layers: { type: 'string', default: '4' },
    relu: { type: 'boolean', default: false },
    shape: { type: 'string', default: SHAPE },
  },
});
const [HIDDEN, NEURONS] = options.shape.split('x').map(Number);

/** Gates are sums of as many products of normal numbers as an input has entries. */
const RELU = {
  activation: 'relu',
  activationThreshold: Math.fround(normalQuantile(ZEROS) * Math.sqrt(HIDDEN)),
} as const;
const GEMMA = { activation: 'gelu_tanh', gateQuantile: trainedQuantile(SPARSITY) } as const;

/** Normally distributed (Box and Muller), by a linear congruential generator (Numerical Recipes). */
function noise(count: number, seed: number): Float32Array {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

interface Gates {
  readonly activation: Activation;
  readonly activationThreshold?: number;
  readonly gateQuantile?: number;
}

/** Blocks whose gates are cut, or not: x [1, tokens, hidden] -> out. */
function blocks({ gateQuantile, ...gates }: Gates): Graph {
  const layers = Number(options.layers);
  const precision = choosePrecision(z.enum(HOST_DTYPES).parse(options.dtype));
  const weights = (name: string) => {
    const shape = name.includes('down_proj') ? [HIDDEN, NEURONS] : [NEURONS, HIDDEN];
    const seed = [...name].reduce((sum, letter) => Math.imul(31, sum) + letter.charCodeAt(0), 7);
    return { name, data: float32Tensor(noise(HIDDEN * NEURONS, seed), shape), precision, importance: undefined };
  };
  const config = {
    ...gates,
    biases: new Set(),
    layers: Array.from({ length: layers }, () => ({ slidingWindow: undefined, rope: '', gateQuantile })),
  };
  const parts = { config, weights, floats: precision.floats } as unknown as DecoderParts;
  const g = new GraphBuilder('blocks');
  const ones = { name: 'ones', data: float32Tensor(new Float32Array(HIDDEN).fill(1)) };
  // Every block reads the same x: in a chain of random blocks, numbers would grow without limit.
  let sum = 'x';
  for (let layer = 0; layer < layers; layer++) {
    g.op('Identity', ['x'], { outputs: [tapName(layer, 'ffn_residual')] });
    const x = rmsNorm(g, tapName(layer, 'ffn_residual'), ones, 1e-6, tapName(layer, 'ffn_in'));
    sum = g.op('Add', [sum, gatedMlp(g, x, layer, parts, tapName(layer, 'ffn_out'))]);
  }
  g.op('Identity', [sum], { outputs: ['out'] });
  const stream = (name: string) => value(name, 'float32', [1, 'tokens', HIDDEN]);
  const graph = g.graph([stream('x')], [stream('out')]);
  const named = new Map(graph.initializers.map((one) => [one.name, one]));
  return { ...graph, initializers: [...named.values()] };
}

const folder = mkdtempSync(join(tmpdir(), 'lacuna-trained-cut-'));
try {
  const models = join(folder, `${HIDDEN}x${NEURONS} ${options.dtype}`);
  const cut = options.relu ? RELU : GEMMA;
  const contenders = {
    dense: blocks({ activation: options.relu ? 'silu' : GEMMA.activation }),
    'cut in standard operators': blocks(cut),
    'trained-cut': fuseDecoderParts(blocks(cut)),
  };
  for (const [name, graph] of Object.entries(contenders)) {
    mkdirSync(join(models, name), { recursive: true });
    await writeOnnx(graph, join(models, name, 'model.onnx'), { threads: 1 });
  }
  const { python, library, threads, rounds, layers } = options;
  const args = [models, '--library', library, '--threads', threads, '--rounds', rounds];
  execFileSync(python, ['bench/kernels.py', ...args, '--layers', layers, '--hidden', String(HIDDEN)], {
    stdio: 'inherit',
  });
} finally {
  rmSync(folder, { recursive: true });
}
