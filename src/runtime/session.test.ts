import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeReferencing } from '../../formats/onnx/encode.ts';
import { readOnnx, writeOnnx } from '../../formats/onnx/index.ts';
import { declaringDecoder } from '../../test/bigram-decoder.ts';
import { toyDecoder, toyLogits } from '../../test/toy-decoder.ts';
import { BASE_OPSETS, type Graph } from '../core/graph.ts';
import { GraphBuilder, value } from '../core/graph-builder.ts';
import { openSession } from './session.ts';

const VOCAB = 20;
// Small integers: every sum is exact in float32, so results are equal to the last bit.
const toy = {
  table: Array.from({ length: VOCAB }, (_, row) =>
    Array.from({ length: VOCAB }, (_, column) => ((row * 7 + column * 3) % 11) - 5),
  ),
  weight: Array.from({ length: VOCAB }, (_, token) => (token % 4) - 1),
  direction: Array.from({ length: VOCAB }, (_, word) => (word % 3) - 1),
};
const TOKENS = [3, 1, 19, 7, 0, 2];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lacuna-session-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function write(graph: Graph, name: string): Promise<string> {
  const file = join(folder, name, 'onnx', 'model.onnx');
  mkdirSync(dirname(file), { recursive: true });
  await writeOnnx(graph, file);
  return file;
}

describe('openSession', () => {
  it('gives the same logits at once, in chunks and token by token', async () => {
    const session = await openSession(join(await write(toyDecoder(toy), 'toy'), '..', '..'), { threads: 1 });
    const expected = toyLogits(toy, TOKENS).flat();

    const whole = await session.step(TOKENS, session.emptyCache(), { logits: 'all' });
    expect(whole).toMatchObject({ rows: 6, vocab: VOCAB, extras: {} });
    expect([...whole.logits]).toEqual(expected);
    expect(whole.cache.length).toBe(6);

    for (const chunks of [[TOKENS.slice(0, 4), TOKENS.slice(4)], TOKENS.map((token) => [token])]) {
      let cache = session.emptyCache();
      const logits: number[] = [];
      for (const chunk of chunks) {
        const step = await session.step(chunk, cache, { logits: 'all' });
        logits.push(...step.logits);
        cache = step.cache;
      }
      expect(logits).toEqual(expected);
    }
    await session.close();
  });

  it('returns the logits of the last token by default, apart from the others', async () => {
    const session = await openSession(await write(toyDecoder(toy), 'last'));
    const step = await session.step(TOKENS, session.emptyCache());
    expect([...step.logits]).toEqual(toyLogits(toy, TOKENS)[5]);
    expect(step.rows).toBe(1);
    expect(step.logits.buffer.byteLength).toBe(VOCAB * 4);
    await session.close();
  });

  it('leaves a cache as it was: two continuations of one start do not meet', async () => {
    const session = await openSession(await write(toyDecoder(toy), 'fork'));
    const { cache } = await session.step([3, 1], session.emptyCache());
    for (const next of [19, 5, 19]) {
      const { logits } = await session.step([next], cache);
      expect([...logits]).toEqual(toyLogits(toy, [3, 1, next])[2]);
    }
    await session.close();
  });

  it('hands out further outputs, added to a model whose weights stay on disk', async () => {
    // A table of 20 x 20 floats is external data, so the edited model must find it in the folder.
    const file = await write(toyDecoder(toy), 'extra');
    const graph = await readOnnx(file);
    const g = new GraphBuilder('added');
    g.op('Greater', ['input_ids', g.int64(2)], { outputs: ['layers.0.active'] });
    const edited = {
      ...graph,
      nodes: [...graph.nodes, ...g.nodes],
      outputs: [...graph.outputs, value('layers.0.active', 'bool', ['batch_size', 'sequence_length'])],
    };
    const session = await openSession(await encodeReferencing(edited, file.replace('/onnx/', '/./onnx/')));
    expect(session.extraOutputs).toEqual(['layers.0.active']);
    const step = await session.step(TOKENS, session.emptyCache(), { logits: 'all' });
    expect(step.extras).toEqual({
      'layers.0.active': { dtype: 'bool', dims: [1, 6], data: Uint8Array.of(1, 0, 1, 1, 0, 0) },
    });
    expect([...step.logits]).toEqual(toyLogits(toy, TOKENS).flat());
    await session.close();
  });

  it('feeds position ids to a model that asks for them', async () => {
    const graph = toyDecoder(toy);
    const g = new GraphBuilder('positions');
    g.op('Identity', ['position_ids'], { outputs: ['positions'] });
    const ids = value('position_ids', 'int64', ['batch_size', 'sequence_length']);
    const asking = {
      ...graph,
      nodes: [...graph.nodes, ...g.nodes],
      inputs: [...graph.inputs, ids],
      outputs: [...graph.outputs, { ...ids, name: 'positions' }],
    };
    const session = await openSession(await write(asking, 'positions'));
    const first = await session.step([1, 2], session.emptyCache());
    const { extras } = await session.step([3, 4, 5], first.cache);
    expect(extras.positions.data).toEqual(BigInt64Array.of(2n, 3n, 4n));
    await session.close();
  });
});

describe('openSession refuses', () => {
  it('a place without a model, and says where it looked', async () => {
    await expect(openSession(join(folder, 'nowhere'))).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('there is nothing'),
    });
    mkdirSync(join(folder, 'empty'));
    await expect(openSession(join(folder, 'empty'))).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('neither onnx/model.onnx nor model.onnx'),
    });
  });

  it('bytes that are no model, and a model without its weights', async () => {
    const garbage = join(folder, 'garbage.onnx');
    writeFileSync(garbage, 'not a model');
    await expect(openSession(garbage)).rejects.toMatchObject({ code: 'runtime' });
    const file = await write(toyDecoder(toy), 'bare');
    rmSync(`${file}_data`);
    await expect(openSession(file)).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringContaining('model.onnx_data'),
    });
  });

  it('a graph that is no decoder', async () => {
    const g = new GraphBuilder('plain');
    g.op('Identity', ['x'], { outputs: ['y'] });
    const body = g.body('plain', [value('x', 'float32', [1])], [value('y', 'float32', [1])]);
    const file = await write({ ...body, functions: [], opsets: BASE_OPSETS, metadata: {} }, 'plain');
    await expect(openSession(file)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('without input_ids, attention_mask, logits, past_key_values.0.key'),
    });
    const graph = toyDecoder(toy);
    const wanting = { ...graph, inputs: [...graph.inputs, value('use_cache_branch', 'bool', [1])] };
    await expect(openSession(await write(wanting, 'wanting'))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('use_cache_branch'),
    });
  });

  it('tokens outside the vocabulary, and none', async () => {
    const session = await openSession(await write(toyDecoder(toy), 'tokens'));
    for (const token of [-1, VOCAB, 1.5, Number.NaN])
      await expect(session.step([0, token], session.emptyCache())).rejects.toMatchObject({
        code: 'usage',
        message: `Expected an integer from 0 to 19 for a token id but received ${token}`,
      });
    await expect(session.step([], session.emptyCache())).rejects.toMatchObject({ code: 'usage' });
    await session.close();
  });

  it('the cache of another architecture', async () => {
    const session = await openSession(await write(toyDecoder(toy), 'cache'));
    await expect(session.step([1], { length: 0, tensors: {} })).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringContaining('past_key_values.0.key'),
    });
    await session.close();
  });
});

describe('openSession refuses before it opens', () => {
  it.each([
    [{ heads: 2 ** 30 }, 'Expected 1 to 4096 heads of past_key_values.0.key, but the model declares 1073741824'],
    [{ head: 2 ** 30 }, 'Expected 1 to 65536 entries a head of past_key_values.0.key'],
    [{ vocab: 2 ** 30 }, 'Expected 1 to 16777216 words of the vocabulary, but the model declares 1073741824'],
  ] as const)('declared sizes that cannot be: %j', async (sizes, message) => {
    const model = await write(
      declaringDecoder({ heads: 1, head: 1, vocab: 2, ...sizes }),
      `declared-${Object.keys(sizes)}`,
    );
    await expect(openSession(model)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(message),
    });
  });

  it('to go on once its signal is aborted', async () => {
    const model = await write(toyDecoder(toy), 'aborted');
    const stop = new AbortController();
    const opening = openSession(model, { signal: stop.signal });
    stop.abort();
    await expect(opening).rejects.toMatchObject({ code: 'interrupted' });
  });
});
