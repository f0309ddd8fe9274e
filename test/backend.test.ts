/** `lacuna/backend`: plain onnxruntime-node and transformers.js run in the native core, and compute what they do without it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeModel, writeOnnx } from '../formats/onnx/index.ts';
import { attr, BASE_OPSETS, type Graph } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { float32Tensor } from '../src/core/tensor.ts';
import { convert } from '../src/index.ts';
import { loadAddon, runtimeLibrary } from '../src/runtime/native-addon.ts';
import { textGeneration } from './consumers/consumers.ts';
import { COUNT, KINDS, makeFolder, PROMPT } from './consumers/folders.ts';
import { TOLERANCE } from './consumers/greedy.ts';
import { nativeLib } from './native-lib.ts';
import { required, root } from './real/real-model.ts';
import { temporaryFolder } from './temporary.ts';

const addon = join(nativeLib, 'lacuna_node.node');
const folder = temporaryFolder();
const LACUNA = { executionProviders: ['lacuna'], intraOpNumThreads: 1 };
const STOCK = { executionProviders: ['cpu'], intraOpNumThreads: 1 };

type Tensors = Record<string, ort.Tensor>;

const int64 = (values: readonly number[], dims: readonly number[]) =>
  new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);

/** The largest difference, of the largest value. */
function difference(a: ort.Tensor, b: ort.Tensor): number {
  expect([a.type, [...a.dims]]).toEqual([b.type, [...b.dims]]);
  const [ours, theirs] = [a, b].map(({ data }) => data as Float32Array);
  const largest = theirs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return ours.reduce((most, x, i) => Math.max(most, Math.abs(x - theirs[i])), 0) / largest;
}

/** Feeds `rows` of tokens after caches, as a program would that knows only the names. */
function feedsOf(session: ort.InferenceSession, rows: readonly (readonly number[])[], past?: Tensors): Tensors {
  const length = past?.['present.0.key'].dims[2] ?? 0;
  const total = length + rows[0].length;
  const feeds: Tensors = {
    input_ids: int64(rows.flat(), [rows.length, rows[0].length]),
    attention_mask: int64(new Array(rows.length * total).fill(1), [rows.length, total]),
  };
  for (const input of session.inputMetadata) {
    if (!input.name.startsWith('past_key_values') || !input.isTensor) continue;
    const [, heads, , width] = input.shape as number[];
    const empty = new ort.Tensor('float32', new Float32Array(0), [rows.length, heads, 0, width]);
    feeds[input.name] = past?.[input.name.replace('past_key_values', 'present')] ?? empty;
  }
  return feeds;
}

/** Tensors whose data are read when somebody asks, as those of caches that stay where they are. */
const isLazy = (tensor: ort.Tensor) => Object.getOwnPropertyDescriptor(tensor, 'data')?.get !== undefined;

/**
 * How often the collector goes through the whole heap during `work`. `process.memoryUsage().external` would not do: it
 * counts array buffers, and not what native code reports.
 */
async function collections(work: () => Promise<void>): Promise<number> {
  let count = 0;
  const { NODE_PERFORMANCE_GC_MAJOR, NODE_PERFORMANCE_GC_INCREMENTAL } = constants;
  const isWhole = (kind: unknown) => kind === NODE_PERFORMANCE_GC_MAJOR || kind === NODE_PERFORMANCE_GC_INCREMENTAL;
  const observer = new PerformanceObserver((list) => {
    count += list
      .getEntries()
      .filter((entry) => isWhole((entry as { detail?: { kind?: number } }).detail?.kind)).length;
  });
  // What earlier tests left is collected first, and not counted.
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  await setTimeout(20);
  observer.observe({ entryTypes: ['gc'] });
  await work();
  await setTimeout(20);
  observer.disconnect();
  return count;
}

const kindOf = (name: string) => {
  const kind = KINDS.find((one) => one.name === name);
  if (kind === undefined) throw new Error(`there is no ${name}`);
  return kind;
};

describe.skipIf(!required && !existsSync(addon))('the backend', { timeout: 240_000 }, () => {
  beforeAll(async () => {
    await import('../src/backend.ts');
  });

  describe.each(['fp32', 'int4'] as const)('with decoders: %s', (precision) => {
    const tolerance = TOLERANCE[precision];
    let native: ort.InferenceSession;
    let stock: ort.InferenceSession;
    beforeAll(async () => {
      const model = join(await makeFolder(join(folder, 'decoders'), kindOf(precision)), 'onnx/model.onnx');
      native = await ort.InferenceSession.create(model, LACUNA);
      stock = await ort.InferenceSession.create(model, STOCK);
    }, 120_000);
    afterAll(async () => {
      await native.release();
      await stock.release();
    });

    async function both(rows: readonly (readonly number[])[], past?: { ours: Tensors; theirs: Tensors }) {
      const ours = await native.run(feedsOf(native, rows, past?.ours));
      const theirs = await stock.run(feedsOf(stock, rows, past?.theirs));
      expect(difference(ours.logits, theirs.logits)).toBeLessThan(tolerance);
      return { ours, theirs } as { ours: Tensors; theirs: Tensors };
    }

    it('says of a model what onnxruntime-node says', () => {
      for (const name of ['inputNames', 'outputNames', 'inputMetadata', 'outputMetadata'] as const)
        expect(native[name]).toEqual(stock[name]);
    });

    it('goes on from caches that nobody reads, past their first capacity', async () => {
      let past = await both([Array.from({ length: 250 }, (_, i) => (i * 389) % 2048)]);
      for (let token = 1; token <= 12; token++) past = await both([[token]], past);
      past = await both([[5, 6, 7]], past);
      expect(isLazy(past.ours['present.3.value'])).toBe(true);
      for (const name of ['present.0.key', 'present.11.value'])
        expect(difference(past.ours[name], past.theirs[name])).toBeLessThan(tolerance);
    });

    it('leaves older caches as they were, whoever goes on from them, and takes what is written into them', async () => {
      const start = await both([[1, 2, 3, 4]]);
      const first = await both([[5]], start);
      const before = await native.run(feedsOf(native, [[6]], first.ours));
      // A second continuation of the start, of another length, then the first one again.
      const second = await both([[9, 8]], start);
      await both([[7]], second);
      const again = await native.run(feedsOf(native, [[6]], first.ours));
      expect(again.logits.data).toEqual(before.logits.data);
      for (const name of ['present.0.key', 'present.5.value'])
        expect(difference(start.ours[name], start.theirs[name])).toBeLessThan(tolerance);
      // What was read may be changed.
      for (const { 'present.0.key': key } of [start.ours, start.theirs]) (key.data as Float32Array).fill(0.25);
      const changed = await both([[5]], start);
      expect(difference(changed.ours.logits, first.ours.logits)).toBeGreaterThan(1e-3);
    });

    it('takes several rows, masked ones, and runs that are started at once', async () => {
      const rows = await both([
        [1, 2, 3],
        [4, 5, 6],
      ]);
      const next = [
        [7, 9],
        [8, 9],
      ];
      for (const [session, past] of [
        [native, rows.ours],
        [stock, rows.theirs],
      ] as const)
        await expect(session.run(feedsOf(session, next, past)), 'several tokens after a past').rejects.toThrow();
      await both([[7], [8]], rows);
      // The second row is a token shorter, and padded on its right.
      const feeds = (session: ort.InferenceSession) => ({
        ...feedsOf(session, [
          [1, 2, 3],
          [4, 5, 0],
        ]),
        attention_mask: int64([1, 1, 1, 1, 1, 0], [2, 3]),
      });
      const [ours, theirs] = [await native.run(feeds(native)), await stock.run(feeds(stock))] as Tensors[];
      expect(isLazy(ours['present.0.key'])).toBe(false);
      // What a host makes of the padding is its own affair.
      const seen = ({ logits }: Tensors) => new ort.Tensor((logits.data as Float32Array).slice(0, 5 * 2048));
      expect(difference(seen(ours), seen(theirs))).toBeLessThan(tolerance);
      const texts = [[1, 2], [3], [4, 5, 6]];
      const together = await Promise.all(texts.map((tokens) => native.run(feedsOf(native, [tokens]))));
      for (const [i, tokens] of texts.entries())
        expect(difference(together[i].logits, (await stock.run(feedsOf(stock, [tokens]))).logits)).toBeLessThan(
          tolerance,
        );
    });

    it('writes into tensors that are given, and gives what is asked for alone', async () => {
      const logits = new ort.Tensor('float32', new Float32Array(2 * 2048), [1, 2, 2048]);
      const results = await native.run(feedsOf(native, [[1, 2]]), { logits });
      expect(Object.keys(results)).toEqual(['logits']);
      expect(results.logits).toBe(logits);
      expect(difference(logits, (await stock.run(feedsOf(stock, [[1, 2]]))).logits)).toBeLessThan(tolerance);
      const short = new ort.Tensor('float32', new Float32Array(3), [1, 1, 3]);
      await expect(native.run(feedsOf(native, [[1, 2]]), { logits: short })).rejects.toThrow(/to write to/);
    });

    it('refuses what onnxruntime-node refuses, by an error, and goes on', async () => {
      const feeds = feedsOf(native, [[1, 2]]);
      await expect(native.run({ ...feeds, input_ids: int64([5000], [1, 1]) })).rejects.toThrow(
        /indices element out of/,
      );
      await expect(native.run({ ...feeds, input_ids: new ort.Tensor('float32', [1], [1, 1]) })).rejects.toThrow(
        /Unexpected input data type/,
      );
      await expect(native.run({ ...feeds, input_ids: new ort.Tensor('string', ['a'], [1, 1]) })).rejects.toThrow(
        /no tensors of type string/,
      );
      await both([[1, 2]]);
    });

    it('goes by the shape of caches where the graph does more with them than append', async () => {
      // Heads of 10 are widened around the operator.
      const output = join(folder, `odd-${precision}`);
      await convert({ checkpoint: join(root, 'fixtures/llama-variants/odd-sizes'), output, dtype: precision });
      const model = join(output, 'onnx/model.onnx');
      const [ours, theirs] = [
        await ort.InferenceSession.create(model, LACUNA),
        await ort.InferenceSession.create(model, STOCK),
      ];
      let pasts = [
        await ours.run(feedsOf(ours, [[3, 1, 4]])),
        await theirs.run(feedsOf(theirs, [[3, 1, 4]])),
      ] as Tensors[];
      expect(isLazy(pasts[0]['present.0.key'])).toBe(false);
      for (const token of [1, 5, 9]) {
        pasts = [
          await ours.run(feedsOf(ours, [[token]], pasts[0])),
          await theirs.run(feedsOf(theirs, [[token]], pasts[1])),
        ] as Tensors[];
        expect(difference(pasts[0].logits, pasts[1].logits)).toBeLessThan(tolerance);
      }
      await Promise.all([ours.release(), theirs.release()]);
    });
  });

  it.each(['fp32', 'int4', 'skip-and-select'])(
    'lets transformers.js write the text that it writes without: %s',
    async (name) => {
      const model = await makeFolder(join(folder, 'transformers-js'), kindOf(name));
      let hasLoaded = false;
      const write = async (session_options: ort.InferenceSession.SessionOptions) => {
        const generator = await textGeneration(model, { session_options });
        const options = { max_new_tokens: COUNT, do_sample: false, return_full_text: false };
        const [{ generated_text: text }] = await generator(PROMPT, options);
        hasLoaded = readFileSync('/proc/self/maps', 'utf8').includes('liblacuna_ort.so');
        await generator.dispose();
        return text;
      };
      const text = await write(STOCK);
      expect(hasLoaded).toBe(false);
      expect(await write(LACUNA)).toBe(text);
      expect(hasLoaded).toBe(true);
      expect(String(text).length).toBeGreaterThan(20);
    },
  );

  describe('with any model', () => {
    const graphOf = (g: GraphBuilder, inputs: Graph['inputs'], outputs: Graph['outputs']): Graph => ({
      ...g.body('any', inputs, outputs),
      functions: [],
      opsets: BASE_OPSETS,
      metadata: {},
    });

    it('runs one with every kind of tensor, weights and inputs among its outputs', async () => {
      const kinds = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float64: 11, uint32: 12 } as const;
      const g = new GraphBuilder('any');
      g.initializer('weight', float32Tensor([1, 2, 3]));
      for (const [name, type] of Object.entries(kinds))
        g.op('Cast', ['x'], { attributes: { to: attr.int(type) }, outputs: [`as_${name}`] });
      const outputs = Object.keys(kinds).map((name) => value(`as_${name}`, name as 'float32', ['n']));
      const graph = graphOf(g, [value('x', 'float32', ['n'])], [...outputs, value('weight', 'float32', [3])]);
      const model = join(folder, 'any.onnx');
      await writeOnnx(graph, model);
      const sessions = [
        await ort.InferenceSession.create(model, LACUNA),
        await ort.InferenceSession.create(model, STOCK),
      ];
      const x = new ort.Tensor('float32', [0, 1, 2.5, 100], [4]);
      const [ours, theirs] = await Promise.all(sessions.map((session) => session.run({ x })));
      for (const name of Object.keys(theirs)) {
        expect(ours[name].type, name).toBe(theirs[name].type);
        expect(ours[name].data, name).toEqual(theirs[name].data);
      }
      // A weight that is given out is a copy: changing it changes no later run.
      (ours.weight.data as Float32Array).fill(9);
      expect([...((await sessions[0].run({ x })).weight.data as Float32Array)]).toEqual([1, 2, 3]);
      await Promise.all(sessions.map((session) => session.release()));
      await expect(sessions[0].run({ x })).rejects.toThrow(/was disposed of/);
    });

    it('tells the collector of a tensor once, whoever holds it', async () => {
      const g = new GraphBuilder('same');
      g.op('Identity', ['x'], { outputs: ['y'] });
      const size = 1 << 20;
      const graph = graphOf(g, [value('x', 'float32', [size])], [value('y', 'float32', [size])]);
      const model = join(folder, 'same.onnx');
      await writeOnnx(graph, model);
      const opened = await loadAddon({ addon }).openModel({
        runtime: await runtimeLibrary(),
        path: model,
      });
      const FLOAT = 1;
      const [x, y] = [opened.createValue(FLOAT, [size]), opened.createValue(FLOAT, [size])];
      // 400 MB, whoever counts them: of new tensors, or of one that is given out a hundred times.
      const fresh = await collections(async () => {
        for (let i = 0; i < 100; i++) opened.createValue(FLOAT, [size]);
      });
      const again: unknown[] = [];
      const same = await collections(async () => {
        for (let i = 0; i < 100; i++)
          again.push(...(await opened.run([{ name: 'x', value: x }], [{ name: 'y', value: y }])));
      });
      expect(fresh).toBeGreaterThan(0);
      expect(same).toBe(0);
      expect(again).toHaveLength(100);
      // Its memory as JavaScript sees it is the same memory.
      expect(y.buffer().byteLength).toBe(4 * size);
      await opened.dispose();
    });

    it('opens one in memory, with its data beside it', async () => {
      const g = new GraphBuilder('memory');
      const weights = Float32Array.from({ length: 4096 }, (_, i) => i);
      g.op('Add', ['x', g.initializer('weight', float32Tensor(weights))], { outputs: ['y'] });
      const graph = graphOf(g, [value('x', 'float32', [4096])], [value('y', 'float32', [4096])]);
      const { model, externalData } = await encodeModel(graph);
      expect(externalData).toBeDefined();
      const data = externalData ?? new Uint8Array();
      const options = { ...LACUNA, externalData: [{ path: 'model.onnx_data', data }] };
      const session = await ort.InferenceSession.create(model, options);
      const { y } = await session.run({ x: new ort.Tensor('float32', new Float32Array(4096).fill(1), [4096]) });
      expect((y.data as Float32Array)[4095]).toBe(4096);
      await session.release();
      await expect(ort.InferenceSession.create(model.subarray(0, 40), LACUNA)).rejects.toThrow(
        /protobuf|ModelProto|parse/i,
      );
      await expect(ort.InferenceSession.create(join(folder, 'none.onnx'), LACUNA)).rejects.toThrow(
        /File doesn't exist/,
      );
    });
  });
});
