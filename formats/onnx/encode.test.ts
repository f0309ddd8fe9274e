import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attr, BASE_OPSETS, type Graph, LACUNA_DOMAIN, type OpFunction } from '../../src/core/graph.ts';
import { GraphBuilder, value } from '../../src/core/graph-builder.ts';
import { float32Tensor, type TensorExpr } from '../../src/core/tensor.ts';
import { encodeModel } from './encode.ts';
import { writeOnnx } from './write.ts';

const SIZE = 300; // floats: 1200 bytes, so the weight is external; the 4-byte constants are inline

/** y = x * weight, then negated where the mean is below the attribute `limit`. */
function flipBelow(): OpFunction {
  const g = new GraphBuilder('');
  const limit = g.op('Constant', [], { attributes: { value_float: attr.reference('limit', 'float') } });
  const mean = g.op('ReduceMean', ['x'], { attributes: { keepdims: attr.int(0) } });
  const branch = (name: string, opType: string) => {
    const b = new GraphBuilder(name);
    const out = b.op(opType, ['x']);
    return b.body(name, [], [value(out, 'float32', ['n'])]);
  };
  g.op('If', [g.op('Less', [mean, limit])], {
    attributes: {
      then_branch: attr.graph(branch('below', 'Neg')),
      else_branch: attr.graph(branch('above', 'Identity')),
    },
    outputs: ['y'],
  });
  return {
    domain: LACUNA_DOMAIN,
    name: 'FlipBelow',
    inputs: ['x'],
    outputs: ['y'],
    attributes: ['limit'],
    nodes: g.nodes,
    opsets: BASE_OPSETS,
    doc: 'Negates what is small on average.',
  };
}

function flipGraph(weight: TensorExpr): Graph {
  const g = new GraphBuilder('');
  const scaled = g.op('Mul', ['x', g.initializer('weight', weight)]);
  g.op('FlipBelow', [scaled], { domain: LACUNA_DOMAIN, attributes: { limit: attr.float(0.5) }, outputs: ['y'] });
  return {
    ...g.body('main', [value('x', 'float32', ['n'])], [value('y', 'float32', ['n'])]),
    functions: [flipBelow()],
    opsets: BASE_OPSETS,
    metadata: { origin: 'test' },
  };
}

const weight = float32Tensor(Float32Array.from({ length: SIZE }, (_, i) => i % 7));

async function expectFlips(session: InferenceSession): Promise<void> {
  // Means of i % 7 over 300 entries: 2.99 times the factor, on both sides of 0.5. Products of small integers and powers
  // of two are exact.
  for (const [factor, sign] of [
    [1, 1],
    [0.125, -1],
  ]) {
    const { y } = await session.run({ x: new Tensor('float32', new Float32Array(SIZE).fill(factor), [SIZE]) });
    expect([...(y.data as Float32Array)]).toEqual(Array.from({ length: SIZE }, (_, i) => sign * factor * (i % 7)));
  }
}

describe('a model with external data and a local function that holds an If, in ONNX Runtime', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lacuna-encode-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('from memory', async () => {
    const { model, externalData } = await encodeModel(flipGraph(weight));
    expect(externalData?.length).toBe(4 * SIZE);
    const session = await InferenceSession.create(model, {
      externalData: [{ path: 'model.onnx_data', data: externalData ?? new Uint8Array() }],
    });
    await expectFlips(session);
    await session.release();
  });

  test('from disk', async () => {
    const path = join(folder, 'model.onnx');
    await writeOnnx(flipGraph(weight), path);
    const session = await InferenceSession.create(path);
    await expectFlips(session);
    await session.release();
  });
});

test('tensors up to a kilobyte stay in the model', async () => {
  const { externalData } = await encodeModel(flipGraph(float32Tensor(new Float32Array(256))));
  expect(externalData).toBeUndefined();
});

test('the domain of a local function gets version 1; any other domain must be stated', async () => {
  const graph = flipGraph(weight);
  await expect(encodeModel({ ...graph, functions: [] })).rejects.toMatchObject({
    code: 'mismatch',
    message: expect.stringContaining('"lacuna"'),
  });
});

test('equal graphs give equal bytes', async () => {
  const [one, two] = await Promise.all([encodeModel(flipGraph(weight)), encodeModel(flipGraph(weight))]);
  expect(Buffer.compare(one.model, two.model)).toBe(0);
});
