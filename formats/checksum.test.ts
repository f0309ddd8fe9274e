import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addToCrc32, checksumOf, joinCrc32 } from './checksum.ts';

const text = (value: string) => new TextEncoder().encode(value);

describe('checksums', () => {
  it('are CRC-32: the check value of its specification', () => {
    expect(checksumOf(text('123456789'))).toBe('cbf43926');
    expect(checksumOf(text(''))).toBe('00000000');
  });

  it('of parts join to that of the whole, however it is cut', () => {
    const sum = (data: Uint8Array) => addToCrc32(data, 0);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (first, second) => {
        const whole = sum(Uint8Array.from([...first, ...second]));
        expect(joinCrc32(sum(first), sum(second), second.length)).toBe(whole);
        expect(addToCrc32(second, sum(first))).toBe(whole);
      }),
    );
  });

  it('join over more than 4 GiB: zeros after a part, added at once or a piece at a time', () => {
    // The sum of n zero bytes by doubling, as an independent way to the same sum.
    const zeros = (doublings: number): number => {
      let sum = addToCrc32(new Uint8Array(1 << 20), 0);
      for (let i = 0; i < doublings; i++) sum = joinCrc32(sum, sum, 2 ** (20 + i));
      return sum;
    };
    const first = addToCrc32(text('123456789'), 0);
    const [half, whole] = [zeros(12), zeros(13)];
    expect(joinCrc32(joinCrc32(first, half, 2 ** 32), half, 2 ** 32)).toBe(joinCrc32(first, whole, 2 ** 33));
    // One mebibyte more, by the plain way.
    expect(joinCrc32(first, zeros(0), 2 ** 20)).toBe(addToCrc32(new Uint8Array(1 << 20), first));
  });
});
