import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { hashing } from './hashing.ts';

async function* blocksOf(sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (const [index, size] of sizes.entries()) yield new Uint8Array(size).fill(index + 1);
}

describe('hashing', () => {
  // None, an empty block, fewer blocks than may be pending, and more.
  it.each([[[]], [[0]], [[1, 70_000]], [[5, 0, 1 << 20, 3, 9, 2, 1, 1, 1, 7]]])(
    'passes blocks of %j on and knows their sha256',
    async (sizes) => {
      const wanted = createHash('sha256');
      for await (const block of blocksOf(sizes)) wanted.update(block);
      const { blocks, digest } = hashing(blocksOf(sizes));
      const passed: number[] = [];
      for await (const block of blocks) passed.push(block.length);
      expect(passed).toEqual(sizes);
      expect(digest()).toBe(wanted.digest('hex'));
    },
  );

  it('has no hash when the stream was broken off, and ends its thread', async () => {
    const { blocks, digest } = hashing(blocksOf([1, 2, 3]));
    for await (const block of blocks) if (block.length === 2) break;
    expect(digest).toThrow('before its end');
  });

  it('passes an error on', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1);
      throw new Error('disk');
    }
    const { blocks } = hashing(failing());
    await expect(async () => {
      for await (const _ of blocks);
    }).rejects.toThrow('disk');
  });
});
