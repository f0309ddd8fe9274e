import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Plan, PlanTensors } from '../src/core/plan.ts';
import { float32Tensor } from '../src/core/tensor.ts';
import { byActivation, byGate } from '../test/ffn-plan.ts';
import { sha256File } from './files.ts';
import { readPlan, writePlan } from './plan.ts';
import { writeSafetensors } from './safetensors/index.ts';

const MODEL = { modelType: 'llama', fingerprint: 'f', numHiddenLayers: 4, hiddenSize: 2, intermediateSize: 3 };

const TOP_K: Plan = {
  format: 'lacuna.plan',
  version: 2,
  preset: 'top-k',
  host: { kind: 'native' },
  model: MODEL,
  statistics: 's',
  tensors: null,
  target: { kind: 'density', value: 0.5 },
  prefill: 'sparse',
  skipping: null,
  blocks: [1, 3].map((layer) => ({
    block: `layers.${layer}.ffn`,
    choice: byActivation(0.25, 'absolute', 'w'),
    expected: { density: 0.5, bytesPerToken: 48 },
    why: 'made up',
  })),
};
const TENSORS: PlanTensors = new Map([['w', { shape: [3], data: Float32Array.of(0.1, 0, 3) }]]);

const SKIP: Plan = {
  ...TOP_K,
  preset: 'ffn-skip',
  target: { kind: 'skipped-blocks', value: 0.25 },
  skipping: { warmUpTokens: 25, reArm: true },
  blocks: [1, 2].map((layer) => ({
    block: `layers.${layer}.ffn`,
    skip: { threshold: 0.97, runLength: 1 },
    expected: { skipped: 0.25, bytesPerToken: 54 },
    why: 'made up',
  })),
};

/** Two rows in the place of a block, for tokens whose expected error is at most 0.03. */
const REPLACED: Plan = {
  ...SKIP,
  preset: 'replace',
  blocks: [
    {
      block: 'layers.2.ffn',
      repair: {
        rank: 1,
        tensors: { reduce: 'r', expand: 'e', offset: 'o' },
        gate: { threshold: 0.03, curvature: -0.5, intercept: 1, tensors: { slope: 's', quantiles: 'q' } },
      },
      expected: { skipped: 0.5, bytesPerToken: 60 },
      why: 'made up',
    },
  ],
};
const MAP: PlanTensors = new Map([
  ['r', { shape: [1, 2], data: Float32Array.of(1, 2) }],
  ['e', { shape: [2, 1], data: Float32Array.of(3, 4) }],
  ['o', { shape: [2], data: Float32Array.of(5, 6) }],
  ['s', { shape: [2], data: Float32Array.of(7, 8) }],
  ['q', { shape: [65], data: new Float32Array(65) }],
]);

let folder = '';
let path = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lacuna-'));
  path = join(folder, 'plan.json');
});
afterAll(() => rm(folder, { recursive: true }));

describe('plan files', () => {
  it.each([
    [{ kind: 'threshold', scale: 'token-mean', threshold: 0.5, weights: 'w' }, byActivation(0.5, 'mean', 'w')],
    [{ kind: 'threshold', scale: 'absolute', threshold: 0.25, weights: 'w' }, byActivation(0.25, 'absolute', 'w')],
    [{ kind: 'statistical', mode: 'hard', density: 0.3 }, byGate(0.3, 'hard')],
  ])('of version 1 are read as what they mean: %j', async (select, choice) => {
    await writePlan(TOP_K, TENSORS, path);
    const json = JSON.parse(await readFile(path, 'utf8'));
    const blocks = json.blocks.map(({ choice: _, ...block }: object & { choice: unknown }) => ({ ...block, select }));
    await writeFile(path, JSON.stringify({ ...json, version: 1, blocks }));
    const { plan } = await readPlan(path);
    expect(plan.version).toBe(2);
    expect(plan.blocks.map((block) => block.choice)).toEqual([choice, choice]);
    await writeFile(
      path,
      JSON.stringify({ ...json, version: 1, blocks: [{ ...blocks[0], select: { kind: 'other' } }] }),
    );
    await expect(readPlan(path)).rejects.toMatchObject({ code: 'bad-file' });
  });

  it('give back a plan and its tensors', async () => {
    const written = await writePlan(TOP_K, TENSORS, path);
    expect(written.tensors).toEqual({
      file: 'plan.safetensors',
      sha256: await sha256File(join(folder, 'plan.safetensors')),
    });
    expect(await readPlan(path)).toEqual({ plan: written, tensors: TENSORS });
  });

  it('give back a map that stands in a block’s place', async () => {
    const written = await writePlan(REPLACED, MAP, path);
    expect(await readPlan(path)).toEqual({ plan: written, tensors: MAP });
  });

  it.each(['r', 'e', 'o', 's'])(
    'are not written where tensor %s of a map is missing or of another shape',
    async (name) => {
      const never = join(folder, 'never.json');
      const without = new Map([...MAP].filter(([one]) => one !== name));
      await expect(writePlan(REPLACED, without, never)).rejects.toThrow(
        `tensor "${name}" is missing, wanted float32 [`,
      );
      const other = new Map([...without, [name, { shape: [3], data: new Float32Array(3) }]]);
      await expect(writePlan(REPLACED, other, never)).rejects.toThrow(`tensor "${name}" is [3], wanted float32 [`);
    },
  );

  it('need no tensors when the plan has none', async () => {
    expect(await writePlan(SKIP, new Map(), path)).toEqual(SKIP);
    expect(await readPlan(path)).toEqual({ plan: SKIP, tensors: new Map() });
  });

  it('keep the host and the times on it, and are for the native kernels where they name none', async () => {
    const host = { kind: 'stock', dtype: 'int4' } as const;
    const blocks = SKIP.blocks.map((block) => ({ ...block, expected: { ...block.expected, time: 0.8 } }));
    await writePlan({ ...SKIP, host, blocks }, new Map(), path);
    expect((await readPlan(path)).plan).toEqual({ ...SKIP, host, blocks });
    const { host: _, ...before } = SKIP;
    await writeFile(path, JSON.stringify(before));
    expect((await readPlan(path)).plan).toEqual(SKIP);
  });

  it('are not written when the parts do not fit', async () => {
    await expect(writePlan(TOP_K, new Map(), join(folder, 'never.json'))).rejects.toMatchObject({ code: 'bad-file' });
    await expect(readPlan(join(folder, 'never.json'))).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('broken plan files', () => {
  const [first, second] = TOP_K.blocks;
  type Json = Record<string, unknown>;

  const edited = async (plan: Plan, edit: (json: Json) => Json) => {
    const tensors = plan === TOP_K ? TENSORS : plan === REPLACED ? MAP : new Map();
    await writePlan(plan, tensors, path);
    await writeFile(path, JSON.stringify(edit(JSON.parse(await readFile(path, 'utf8')))));
    return readPlan(path);
  };

  it.each<[string, Plan, (json: Json) => Json, string, RegExp]>([
    ['another format', TOP_K, (json) => ({ ...json, format: 'x' }), 'bad-file', /format/],
    [
      'more layers than any model',
      TOP_K,
      (json) => ({ ...json, model: { ...MODEL, numHiddenLayers: 2 ** 53 - 1 } }),
      'bad-file',
      /numHiddenLayers/,
    ],
    ['a later version', TOP_K, (json) => ({ ...json, version: 3 }), 'bad-file', /version/],
    ['a preset without a name', TOP_K, (json) => ({ ...json, preset: '' }), 'bad-file', /preset/],
    [
      'a target of another kind',
      TOP_K,
      (json) => ({ ...json, target: { kind: 'heads', value: 0.5 } }),
      'bad-file',
      /target/,
    ],
    ['an unknown host', TOP_K, (json) => ({ ...json, host: { kind: 'moon' } }), 'bad-file', /host/],
    ['a host without a dtype', TOP_K, (json) => ({ ...json, host: { kind: 'stock' } }), 'bad-file', /dtype/],
    [
      'a dtype that is none of a sparse model',
      TOP_K,
      (json) => ({ ...json, host: { kind: 'stock', dtype: 'fp16' } }),
      'bad-file',
      /dtype/,
    ],
    [
      'a dtype whose times nobody knows',
      TOP_K,
      (json) => ({ ...json, host: { kind: 'native', dtype: 'fp16' } }),
      'bad-file',
      /dtype/,
    ],
    [
      'a time below 0',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, expected: { ...first.expected, time: -1 } }] }),
      'bad-file',
      /time/,
    ],
    ['a field of no meaning', TOP_K, (json) => ({ ...json, extra: 1 }), 'bad-file', /extra/],
    [
      'a threshold below 0',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, choice: byActivation(-1, 'absolute', 'w') }] }),
      'bad-file',
      /threshold/,
    ],
    [
      'a threshold that JSON cannot hold',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, choice: byActivation(Number.NaN, 'absolute', 'w') }] }),
      'bad-file',
      /threshold/,
    ],
    [
      'a cut that the measure has not',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, choice: { ...byGate(0.5), tensors: {}, measure: 'product' } }] }),
      'bad-file',
      /measure product has no cut deviation/,
    ],
    [
      'a measure that is there to be timed',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, choice: { ...byActivation(0.25), measure: 'nested' } }] }),
      'bad-file',
      /measure/,
    ],
    [
      'a cut of two kinds',
      TOP_K,
      (json) => ({
        ...json,
        blocks: [{ ...first, choice: { ...byGate(0.5), cut: { ...byGate(0.5).cut, threshold: 1 } } }],
      }),
      'bad-file',
      /threshold/,
    ],
    [
      'a measure without the tensors that it needs',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, choice: { ...byActivation(0.25), tensors: {} } }] }),
      'bad-file',
      /measure activation needs tensors: weights/,
    ],
    [
      'a run of no blocks',
      SKIP,
      (json) => ({ ...json, blocks: [{ ...SKIP.blocks[0], skip: { threshold: 0.9, runLength: 0 } }] }),
      'bad-file',
      /runLength/,
    ],
    [
      'a block of another kind',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, block: 'layers.1.attention' }] }),
      'bad-file',
      /block/,
    ],
    [
      'a block past the last layer',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, block: 'layers.4.ffn' }] }),
      'bad-file',
      /past the model's 4/,
    ],
    ['a block named twice', TOP_K, (json) => ({ ...json, blocks: [first, first] }), 'bad-file', /once each/],
    ['blocks out of order', TOP_K, (json) => ({ ...json, blocks: [second, first] }), 'bad-file', /layer order/],
    [
      'a block that is replaced and skipped',
      REPLACED,
      (json) => ({ ...json, blocks: [{ ...REPLACED.blocks[0], skip: { threshold: 0.9, runLength: 1 } }] }),
      'bad-file',
      /a block that is replaced is not skipped beside it/,
    ],
    [
      'a map of no rows',
      REPLACED,
      (json) => ({ ...json, blocks: [{ ...REPLACED.blocks[0], repair: { ...REPLACED.blocks[0].repair, rank: 0 } }] }),
      'bad-file',
      /rank/,
    ],
    [
      'attention that is replaced',
      REPLACED,
      (json) => ({ ...json, blocks: [{ ...REPLACED.blocks[0], block: 'layers.2.attention' }] }),
      'bad-file',
      /only FFN blocks are skipped or choose neurons, or are replaced/,
    ],
    ['skips without their rule', SKIP, (json) => ({ ...json, skipping: null }), 'bad-file', /"skipping" is null/],
    [
      'weights that are not there',
      TOP_K,
      (json) => ({ ...json, blocks: [{ ...first, choice: byActivation(0.25, 'absolute', 'v') }] }),
      'bad-file',
      /"v" is missing/,
    ],
    ['no tensors where they are needed', TOP_K, (json) => ({ ...json, tensors: null }), 'bad-file', /"w" is missing/],
    [
      'weights of another size',
      TOP_K,
      (json) => ({ ...json, model: { ...MODEL, intermediateSize: 4 } }),
      'bad-file',
      /\[3\], wanted float32 \[4\]/,
    ],
    [
      'a path that leads elsewhere',
      TOP_K,
      (json) => ({ ...json, tensors: { file: '../plan.safetensors', sha256: '0'.repeat(64) } }),
      'bad-file',
      /beside it/,
    ],
    [
      'tensors of another plan',
      TOP_K,
      (json) => ({ ...json, tensors: { file: 'plan.safetensors', sha256: '0'.repeat(64) } }),
      'mismatch',
      /sha256/,
    ],
  ])('are refused for %s', async (_, plan, edit, code, message) => {
    await expect(edited(plan, edit)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.any(String),
    });
  });

  it.each<[string, number[], string]>([
    ['not numbers', [0.1, Number.NaN, 1], 'non-finite'],
    ['negative', [0.1, -1, 1], 'bad-file'],
  ])('are refused for weights that are %s', async (_, weights, code) => {
    const file = join(folder, 'edited.safetensors');
    await writeSafetensors(file, [{ name: 'w', data: float32Tensor(weights) }]);
    const tensors = { file: 'edited.safetensors', sha256: await sha256File(file) };
    await expect(edited(TOP_K, (json) => ({ ...json, tensors }))).rejects.toMatchObject({ code });
  });

  it('are refused for JSON that is none', async () => {
    await writeFile(path, '{"format": "lacuna.plan", NaN');
    await expect(readPlan(path)).rejects.toMatchObject({ code: 'bad-file' });
    await writeFile(path, '[]');
    await expect(readPlan(path)).rejects.toMatchObject({ code: 'bad-file' });
  });
});
