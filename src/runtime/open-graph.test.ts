import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../formats/onnx/index.ts';
import { toyDecoder } from '../../test/toy-decoder.ts';
import type { Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import type { RuntimeTensor } from '../core/runner.ts';
import { float32Tensor } from '../core/tensor.ts';
import { createOpenGraph } from './open-graph.ts';

const openGraph = createOpenGraph({ encode: encodeModel, threads: 1 });

const f32 = (data: number[], dims: readonly number[]): RuntimeTensor => ({
  dtype: 'float32',
  dims,
  data: Float32Array.from(data),
});

/** y = x * w with w of 512 values, too many to stay inside a model's own bytes; big = y > x. */
function scaling(): Graph {
  const g = new GraphBuilder('scaling');
  const weight = Float32Array.from({ length: 512 }, (_, index) => index - 255.5);
  g.op('Mul', ['x', g.initializer('w', float32Tensor(weight))], { outputs: ['y'] });
  g.op('Greater', ['y', 'x'], { outputs: ['big'] });
  g.op('Identity', ['n'], { outputs: ['m'] });
  const inputs = [value('x', 'float32', ['rows', 512]), value('n', 'int64', [2])];
  const outputs = [value('y', 'float32', ['rows', 512]), value('big', 'bool', ['rows', 512]), value('m', 'int64', [2])];
  return g.graph(inputs, outputs);
}

describe('createOpenGraph', () => {
  const x = f32(new Array(512).fill(2), [1, 512]);
  const n: RuntimeTensor = { dtype: 'int64', dims: [2], data: BigInt64Array.of(-1n, 2n ** 60n) };

  it('runs a graph with weights outside the model, and keeps each element type', async () => {
    const runner = await openGraph(scaling());
    const { y, big, m } = await runner.run({ x, n });
    await runner.close();
    expect(y).toEqual({
      dtype: 'float32',
      dims: [1, 512],
      data: Float32Array.from({ length: 512 }, (_, i) => 2 * i - 511),
    });
    // 2w > 2 from w = 1.5 on, which is index 257.
    expect(big).toEqual({
      dtype: 'bool',
      dims: [1, 512],
      data: Uint8Array.from({ length: 512 }, (_, i) => (i >= 257 ? 1 : 0)),
    });
    expect(m).toEqual(n);
  });

  it('returns the outputs asked for, and no other', async () => {
    const runner = await openGraph(scaling());
    expect(Object.keys(await runner.run({ x, n }, ['m']))).toEqual(['m']);
    await runner.close();
  });

  it('leaves rows of a batch apart', async () => {
    const runner = await openGraph(
      toyDecoder({
        table: [
          [0, 1],
          [2, 3],
        ],
        weight: [1, 10],
        direction: [1, 0],
      }),
    );
    const int64 = (data: number[], dims: readonly number[]): RuntimeTensor => ({
      dtype: 'int64',
      dims,
      data: BigInt64Array.from(data, BigInt),
    });
    const empty = f32([], [2, 1, 0, 1]);
    const { logits } = await runner.run({
      input_ids: int64([0, 1, 1, 0], [2, 2]),
      attention_mask: int64([1, 1, 1, 1], [2, 2]),
      'past_key_values.0.key': empty,
      'past_key_values.0.value': empty,
    });
    await runner.close();
    // Row 0: 0+1, 1 | 2+11, 3; row 1: 2+10, 3 | 0+11, 1.
    expect([...logits.data]).toEqual([1, 1, 13, 3, 12, 3, 11, 1]);
  });

  it('names the tensor whose data and shape disagree', async () => {
    const runner = await openGraph(scaling());
    await expect(runner.run({ x: f32([1, 2, 3], [1, 512]), n })).rejects.toMatchObject({
      code: 'mismatch',
      message: 'Expected 512 elements in a Float32Array for x (float32 [1,512]) but received 3 in a Float32Array',
    });
    await expect(runner.run({ x: { ...x, dtype: 'bfloat16' }, n })).rejects.toMatchObject({ code: 'unsupported' });
    await runner.close();
  });

  it("passes on ONNX Runtime's refusals as errors of ours", async () => {
    const runner = await openGraph(scaling());
    await expect(runner.run({ x: f32([1, 2, 3], [1, 3]), n })).rejects.toMatchObject({
      name: 'LacunaError',
      code: 'runtime',
      message: expect.stringMatching(/^ONNX Runtime could not run the model: .*\bx\b/s),
      cause: expect.any(Error),
    });
    await runner.close();
    const graph = scaling();
    const broken = { ...graph, nodes: [{ ...graph.nodes[0], opType: 'NoSuchOperator' }, ...graph.nodes.slice(1)] };
    await expect(openGraph(broken)).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringContaining('NoSuchOperator'),
    });
  });
});
