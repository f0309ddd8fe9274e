/** A folder whose graph holds what would end the process inside ONNX Runtime: refused before anything is opened. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import * as proto from '../formats/onnx/proto.ts';
import { convert } from '../src/index.ts';
import { lacuna, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const ENGINES = ['stock', 'native'];

/** A folder of this precision, changed: one attribute of the first node that is called so, here or in a function. */
function folderWith(precision: string, opType: RegExp, attribute: string, value: bigint): string {
  const path = join(folder, `${precision}-${attribute}-${value}`);
  cpSync(join(folder, precision), path, { recursive: true });
  const file = join(path, 'onnx/model.onnx');
  const model = proto.decode(readFileSync(file));
  const nodes: proto.Node[] = [
    ...(model.graph?.node ?? []),
    ...(model.functions ?? []).flatMap(({ node }) => node ?? []),
  ];
  const found = nodes
    .filter((node) => opType.test(node.opType ?? ''))
    .flatMap((node) => node.attribute ?? [])
    .find(({ name, refAttrName }) => name === attribute && !refAttrName);
  if (found === undefined) throw new Error(`no ${opType} has ${attribute}`);
  const bits = BigInt.asUintN(64, value);
  found.i = { low: Number(bits & 0xffffffffn) | 0, high: Number(bits >> 32n) | 0, unsigned: false } as never;
  writeFileSync(file, proto.encode(model));
  return path;
}

describe('run, eval and bench', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    for (const dtype of ['fp32', 'int4'] as const)
      await convert({ checkpoint: tinyLlama, output: join(folder, dtype), dtype });
  }, 120_000);

  it.each([
    ['fp32', /^GroupQueryAttention$/, 'num_heads', -(2n ** 32n)],
    ['fp32', /^GroupQueryAttention$/, 'kv_num_heads', 2n ** 32n],
    ['int4', /^NormAttention_/, 'num_heads', 2n ** 61n + 4n],
    ['int4', /^NormAttention_/, 'num_heads', 0n],
    ['int4', /^GatherBlockQuantized$/, 'block_size', 0n],
  ] as const)('refuse %s with %s %s = %s', async (precision, opType, attribute, value) => {
    const hostile = folderWith(precision, opType, attribute, value);
    for (const engine of ENGINES) {
      const { code, stderr } = await lacuna([
        'run',
        hostile,
        'Once',
        '--max-tokens',
        '2',
        '--engine',
        engine,
        '--quiet',
      ]);
      expect(stderr).toMatch(new RegExp(`expected \\d+ to \\d+ for ${attribute} of \\w+ ".*" but found`));
      expect(code).toBe(2);
    }
    for (const args of [
      ['eval', hostile, '--tokens', '1100', '--quiet'],
      ['bench', hostile, '--prompt-tokens', '8', '--repeats', '1', '--rounds', '1', '--steps', '1'],
    ])
      expect((await lacuna(args)).code).toBe(2);
  });
});
