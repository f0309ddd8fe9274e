/** Nodes that once ended the process, or wrote where they should not: each is refused with what was wanted. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createRandom, type Random } from '../../fuzz/harness/random.ts';
import { FAMILIES, type Family } from '../../fuzz/operators/families.ts';
import { encodeNode, type HostileNode } from '../../fuzz/operators/hostile-node.ts';
import { ELEMENT_TYPES } from '../../src/core/dtype.ts';
import { loadAddon, type NativeValue, runtimeLibrary } from '../../src/runtime/native-addon.ts';
import { nativeLib } from '../native-lib.ts';
import { required } from '../real/real-model.ts';

const addonFile = join(nativeLib, 'lacuna_node.node');
const runtime = await runtimeLibrary();

const familyOf = (name: string): Family => {
  const found = FAMILIES.find(({ make }) => make.name === name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found.make;
};

/** A sound call, or one with sizes of weights and of the call as they are given: the last serves for all that follow. */
function draw(
  name: string,
  seed: number,
  given: { sizes?: readonly number[]; rows?: number; tokens?: number } = {},
): HostileNode {
  const call = createRandom(seed);
  const { sizes: wanted = [] } = given;
  let at = 0;
  const sizes = (): number => wanted[Math.min(at++, wanted.length - 1)];
  const counts = [given.rows, given.tokens];
  let count = 0;
  const replaced = (random: Random, next: () => unknown): Random => ({
    ...random,
    pick: <T>(items: readonly T[]) => (next() as T | undefined) ?? random.pick(items),
  });
  return familyOf(name)({
    variant: createRandom(seed),
    sizes: wanted.length > 0 ? replaced(createRandom(seed), sizes) : createRandom(seed),
    call: replaced(call, () => counts[count++]),
    areConstant: false,
  });
}

async function run(node: HostileNode): Promise<Record<string, NativeValue>> {
  const model = await loadAddon({ addon: addonFile }).openModel({
    runtime,
    operators: join(nativeLib, 'liblacuna_ort.so'),
    bytes: encodeNode(node),
    intraThreads: 1,
    logSeverity: 4,
  });
  try {
    const inputs = node.inputs.flatMap(({ name, tensor }) =>
      tensor === undefined
        ? []
        : [{ name, value: model.createValue(ELEMENT_TYPES[tensor.type].code, tensor.dims, tensor.bytes) }],
    );
    const outputs = model.outputs.map(({ name }) => ({ name, value: null }));
    const values = await model.run(inputs, outputs);
    return Object.fromEntries(outputs.map(({ name }, i) => [name, values[i]]));
  } finally {
    await model.dispose();
  }
}

const withInt = (node: HostileNode, name: string, value: bigint): HostileNode => ({
  ...node,
  attributes: { ...node.attributes, [name]: { kind: 'int', value } },
});

/** What an input holds. */
function numbersOf<Numbers>(array: new (buffer: ArrayBuffer) => Numbers, node: HostileNode, name: string): Numbers {
  const bytes = node.inputs.find((input) => input.name === name)?.tensor?.bytes ?? [];
  return new array(Uint8Array.from(bytes).buffer);
}

const FFNS = ['gatedFfn', 'splitFfn', 'wholeFfn'] as const;

describe.skipIf(!required && !existsSync(addonFile))('kernels refuse', { timeout: 120_000 }, () => {
  it('counts of heads whose products with a size are as small again as those of the weights', async () => {
    // (2^60 + 4) heads of 16 are 64 entries in 64 bits, and still a multiple of 2 heads of keys.
    const countOf = (node: HostileNode, name: string) => {
      const attribute = node.attributes[name];
      return attribute.kind === 'int' ? attribute.value : 0n;
    };
    const seeds = Array.from({ length: 20 }, (_, seed) => seed);
    const isTwo = (seed: number) => countOf(draw('normAttention', seed), 'kv_num_heads') === 2n;
    const sound = draw('normAttention', seeds.find(isTwo) ?? 0);
    const heads = countOf(sound, 'num_heads');
    await expect(run(sound)).resolves.toBeDefined();
    await expect(run(withInt(sound, 'num_heads', 2n ** 60n + heads))).rejects.toThrow(
      /expected 1 to 4096 for attribute num_heads but received 115292150460684\d+/,
    );
    for (const value of [0n, -1n, 4097n, -(2n ** 63n)])
      await expect(run(withInt(sound, 'kv_num_heads', value))).rejects.toThrow(
        `expected 1 to 4096 for attribute kv_num_heads but received ${value}`,
      );
  });

  it.each(FFNS)('no entries, and no neurons: %s', async (name) => {
    for (let seed = 1; seed <= 4; seed++) {
      await expect(run(draw(name, seed, { sizes: [40, 40], rows: 1, tokens: 1 }))).resolves.toBeDefined();
      // Where gate and up read parts of x, the first size is that of neurons; its gate always has entries.
      const isSpark = name === 'splitFfn';
      const nothing = draw(name, seed, { sizes: isSpark ? [0, 40] : [40, 0], rows: 1, tokens: 1 });
      await expect(run(nothing)).rejects.toThrow(/expected 1 to \d+ rows of input (gate|gate_up) but received 0/);
      if (isSpark) continue;
      await expect(run(draw(name, seed, { sizes: [0, 40], rows: 1, tokens: 1 }))).rejects.toThrow(
        /expected 1 to 1048576 entries a token of input x but received 0/,
      );
    }
  });

  it('no entries, and no rows: heads and attention', async () => {
    await expect(run(draw('normProduct', 1, { sizes: [40, 0], rows: 1, tokens: 1 }))).rejects.toThrow(
      /expected 1 to 16777216 rows of input weight but received 0/,
    );
    for (const name of ['normProduct', 'normAttention'])
      await expect(run(draw(name, 1, { sizes: [0, 16], rows: 1, tokens: 1 }))).rejects.toThrow(
        /expected 1 to 1048576 entries a token of input x but received 0/,
      );
  });

  it('a total of tokens beyond the positions, for which caches would have to be made', async () => {
    const sound = draw('normAttention', 1, { rows: 1, tokens: 1 });
    const inputs = sound.inputs.map((input) =>
      input.name !== 'total_sequence_length' || input.tensor === undefined
        ? input
        : { ...input, tensor: { ...input.tensor, bytes: new Uint8Array(Int32Array.of(2 ** 30).buffer) } },
    );
    await expect(run({ ...sound, inputs })).rejects.toThrow(/1073741824 tokens in all do not fit \d+ positions/);
  });
});

describe.skipIf(!required && !existsSync(addonFile))('kernels take', { timeout: 120_000 }, () => {
  it('a call of no tokens, which writes what it gives: of attention the cache as it was', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const node = draw('normAttention', seed, { rows: 2, tokens: 0 });
      const results = await run(node);
      const past = node.inputs.find(({ name }) => name === 'past_key')?.tensor;
      const positions = past?.dims[2] ?? 0;
      const total = numbersOf(Int32Array, node, 'total_sequence_length')[0];
      expect(results.y.dims[1]).toBe(0);
      const present = new Float32Array(results.present_key.buffer());
      const before = numbersOf(Float32Array, node, 'past_key');
      const width = past?.dims[3] ?? 0;
      // Heads one after the other: what was seen is kept, and zeros follow.
      const expected = before.map((value, i) => (Math.floor(i / width) % positions < total ? value : 0));
      expect(present).toEqual(expected);
    }
  });

  it('masks of bytes that are neither 0 nor 1', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const node = draw('gatedFfn', seed, { sizes: [40, 40], rows: 1, tokens: 3 });
      const mask = (value: number): HostileNode => ({
        ...node,
        inputs: node.inputs.map((input) =>
          input.name === 'active' && input.tensor
            ? { ...input, tensor: { ...input.tensor, bytes: new Uint8Array(3).fill(value) } }
            : input,
        ),
      });
      const [one, two] = [await run(mask(1)), await run(mask(2))];
      expect(new Uint8Array(two.y.buffer())).toEqual(new Uint8Array(one.y.buffer()));
    }
  });

  it('gates that are not numbers, which show in the result: relu', async () => {
    const seed = Array.from({ length: 20 }, (_, i) => i).find((one) =>
      draw('wholeFfn', one).inputs.some(({ name, tensor }) => name === 'gate_bias' && tensor !== undefined),
    );
    const node = draw('wholeFfn', seed ?? 0, { sizes: [40, 40], rows: 1, tokens: 1 });
    const bytes = new Uint8Array(new Float32Array(40).fill(Number.NaN).buffer);
    const relu: HostileNode = {
      ...node,
      attributes: { ...node.attributes, activation: { kind: 'string', value: 'relu' } },
      inputs: node.inputs.map((input) =>
        input.name === 'gate_bias' && input.tensor ? { ...input, tensor: { ...input.tensor, bytes } } : input,
      ),
    };
    const y = new Float32Array((await run(relu)).y.buffer());
    expect([...y].every(Number.isNaN)).toBe(true);
  });
});
