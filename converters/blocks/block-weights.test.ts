/** Block-quantised products and look-ups in ONNX Runtime, compared with plain sums over the dequantised weights. */
import { expect, test } from 'vitest';
import { encodeModel } from '../../formats/onnx/index.ts';
import { weightBytesOf } from '../../formats/onnx/layout.ts';
import { type Attribute, attr, BASE_OPSETS, type Graph } from '../../src/core/graph.ts';
import { GraphBuilder, value } from '../../src/core/graph-builder.ts';
import { choosePrecision } from '../../src/core/precision.ts';
import { type BlockScheme, float32Tensor, hasPlanes, quantize } from '../../src/core/tensor.ts';
import { createOpenGraph } from '../../src/runtime/open-graph.ts';
import { readTensorBytes } from '../../src/tensors/index.ts';
import { codeInPlanes } from '../../test/code-planes.ts';
import { float16Numbers } from '../../test/float16.ts';
import { seededFloats } from '../../test/random.ts';
import type { Weight } from '../weights.ts';
import { blockProduct, blockRows, canLookUp } from './block-weights.ts';

const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });
const random = seededFloats(11);
const [OUT, ROWS] = [24, 5];

function weightOf(columns: number): Weight {
  const data = float32Tensor(random(OUT * columns), [OUT, columns]);
  return { name: 'weight', data, precision: choosePrecision('int4'), importance: undefined };
}

const cases = ([4, 5, 6, 8] as const).flatMap((bits) =>
  (hasPlanes(bits) ? [32] : [16, 32, 64, 128]).flatMap((blockSize) =>
    // Whole blocks, and a last block that is not full.
    [256, 200].flatMap((columns) =>
      [true, false].map((symmetric) => ({
        columns,
        scheme: { bits, blockSize, symmetric, method: 'nearest' } satisfies BlockScheme as BlockScheme,
      })),
    ),
  ),
);

/** The weights after rounding, [OUT, columns], from the written bytes. */
async function dequantized({ data }: Weight, scheme: BlockScheme): Promise<Float64Array> {
  const { bits, blockSize } = scheme;
  const columns = data.shape[1];
  const blocks = Math.ceil(columns / blockSize);
  const { codes, scales, zeroPoints } = quantize(data, scheme);
  const codeBytes = await readTensorBytes(codes);
  const zeroBytes = zeroPoints && (await readTensorBytes(zeroPoints));
  const scale = float16Numbers(await readTensorBytes(scales));
  const codeAt = (bytes: Uint8Array, start: number, index: number) =>
    bits === 4 ? (bytes[start + (index >> 1)] >> (4 * (index & 1))) & 15 : bytes[start + index];
  const zeroAt = (row: number, block: number) => {
    if (zeroBytes === undefined) return 2 ** (bits - 1);
    return hasPlanes(bits)
      ? zeroBytes[row * blocks + block] - 128 + 2 ** (bits - 1)
      : codeAt(zeroBytes, row * Math.ceil((blocks * bits) / 8), block);
  };
  return Float64Array.from({ length: OUT * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const block = Math.floor(column / blockSize);
    const start = (row * blocks * blockSize * bits) / 8;
    const code = hasPlanes(bits)
      ? codeInPlanes(codeBytes.subarray(start, start + (blocks * blockSize * bits) / 8), column, bits)
      : codeAt(codeBytes, start, column);
    return scale[row * blocks + block] * (code - zeroAt(row, block));
  });
}

function graphOf(g: GraphBuilder, inputs: Graph['inputs'], outputs: Graph['outputs']): Graph {
  return { ...g.body('test', inputs, outputs), functions: [], opsets: BASE_OPSETS, metadata: {} };
}

/** `level` overrides the accuracy level of the converters. */
async function multiply(weight: Weight, scheme: BlockScheme, x: Float32Array, level?: number): Promise<Float32Array> {
  const columns = weight.data.shape[1];
  const g = new GraphBuilder('test');
  blockProduct(g, 'x', weight, scheme, 'y');
  const override: Record<string, Attribute> = level === undefined ? {} : { accuracy_level: attr.int(level) };
  const built = graphOf(g, [value('x', 'float32', [ROWS, columns])], [value('y', 'float32', [ROWS, OUT])]);
  const nodes = built.nodes.map((node) =>
    node.opType === 'MatMulNBits' ? { ...node, attributes: { ...node.attributes, ...override } } : node,
  );
  const runner = await openGraph({ ...built, nodes });
  const { y } = await runner.run({ x: { dtype: 'float32', dims: [ROWS, columns], data: x } });
  await runner.close();
  return y.data as Float32Array;
}

/** y of the row and output, with the possible effect of rounding. */
function exact(x: Float32Array, weights: Float64Array, columns: number, blockSize: number, i: number) {
  const [row, out] = [Math.floor(i / OUT), i % OUT];
  let [sum, magnitude, activationError] = [0, 0, 0];
  for (let start = 0; start < columns; start += blockSize) {
    let [largest, blockWeights] = [0, 0];
    for (let k = start; k < Math.min(columns, start + blockSize); k++) {
      const [a, w] = [x[row * columns + k], weights[out * columns + k]];
      sum += a * w;
      magnitude += Math.abs(a * w);
      largest = Math.max(largest, Math.abs(a));
      blockWeights += Math.abs(w);
    }
    // Activations of a block become whole multiples of largest / 127: off by half of that at most.
    activationError += (largest / 254) * blockWeights;
  }
  return { sum, magnitude, activationError };
}

test.each(cases)('products of $columns columns, $scheme', async ({ columns, scheme }) => {
  const weight = weightOf(columns);
  const x = random(ROWS * columns);
  const weights = await dequantized(weight, scheme);
  const [float, asConverted] = [await multiply(weight, scheme, x, 0), await multiply(weight, scheme, x)];
  for (let i = 0; i < ROWS * OUT; i++) {
    const { sum, magnitude, activationError } = exact(x, weights, columns, scheme.blockSize, i);
    // Every float32 addition may be off by 2^-24 of the sum so far, which is below the sum of magnitudes.
    const rounding = columns * 2 ** -24 * magnitude;
    expect(Math.abs(float[i] - sum)).toBeLessThanOrEqual(rounding);
    expect(Math.abs(asConverted[i] - sum)).toBeLessThanOrEqual(activationError + 2 * rounding);
  }
  // Rounded activations make it fast. If a kernel rounded none, the second bound would test nothing.
  expect(asConverted).not.toEqual(float);
});

test.each(cases.filter(({ columns, scheme }) => canLookUp(columns, scheme)))(
  'rows of $columns columns, $scheme',
  async ({ columns, scheme }) => {
    const weight = weightOf(columns);
    const ids = [0, OUT - 1, 7, 7];
    const g = new GraphBuilder('test');
    blockRows(g, 'ids', weight, scheme, 'rows');
    const inputs = [value('ids', 'int64', [1, ids.length])];
    const alone = graphOf(g, inputs, [value('rows', 'float32', [1, ids.length, columns])]);
    const runner = await openGraph(alone);
    const feeds = { ids: { dtype: 'int64' as const, dims: [1, ids.length], data: BigInt64Array.from(ids, BigInt) } };
    const { rows } = await runner.run(feeds);
    await runner.close();
    const weights = await dequantized(weight, scheme);
    const wanted = ids.flatMap((id) => [...weights.subarray(id * columns, (id + 1) * columns)].map(Math.fround));
    expect([...(rows.data as Float32Array)]).toEqual(wanted);
  },
);

test('a product that shares its weight with a look-up takes no bytes of its own', () => {
  const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: true, method: 'nearest' };
  // Codes and scales of more than a kilobyte each. Smaller tensors are written inside the model for each use.
  const weight: Weight = { ...weightOf(256), data: float32Tensor(random(64 * 256), [64, 256]) };
  const g = new GraphBuilder('test');
  blockRows(g, 'ids', weight, scheme, 'rows');
  const alone = weightBytesOf(graphOf(g, [], []));
  blockProduct(g, 'x', weight, scheme, 'y');
  expect(alone).toBe((64 * 256) / 2 + 64 * 16 * 2);
  expect(weightBytesOf(graphOf(g, [], []))).toBe(alone);
});

test('rows are looked up where they are whole blocks', () => {
  const scheme = { bits: 4, blockSize: 32, symmetric: true, method: 'nearest' } as const;
  expect(canLookUp(576, scheme)).toBe(true);
  expect(canLookUp(100, scheme)).toBe(false);
});
