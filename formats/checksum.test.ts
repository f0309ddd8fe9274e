import { describe, expect, it } from 'vitest';
import { checksummed, checksumOf } from './checksum.ts';

const text = (value: string) => new TextEncoder().encode(value);

describe('checksums', () => {
  it('are CRC-32: the check value of its specification', () => {
    expect(checksumOf(text('123456789'))).toBe('cbf43926');
    expect(checksumOf(text(''))).toBe('00000000');
  });

  it('of a stream are those of its bytes, however they are cut', async () => {
    async function* parts() {
      for (const part of ['1', '', '2345', '6789']) yield text(part);
    }
    const { blocks, checksum } = checksummed(parts());
    let passed = '';
    for await (const block of blocks) passed += new TextDecoder().decode(block);
    expect(passed).toBe('123456789');
    expect(checksum()).toBe('cbf43926');
  });
});
