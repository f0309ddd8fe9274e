import { describe, expect, it } from 'vitest';
import type { NodeNumbers } from '../core/graph.ts';
import { checkNumbers } from './node-limits.ts';

const MICROSOFT = 'com.microsoft';

function node(opType: string, ints: NodeNumbers['ints'], references: NodeNumbers['references'] = {}): NodeNumbers {
  return { domain: MICROSOFT, opType, name: 'node', ints, references };
}

const attention = (ints: NodeNumbers['ints']) =>
  node('GroupQueryAttention', { num_heads: 4, kv_num_heads: 2, ...ints });

describe('attributes that would end the process', () => {
  it.each([
    [attention({ num_heads: 0 }), 'expected 1 to 4096 for num_heads of GroupQueryAttention "node" but found 0'],
    [attention({ num_heads: -4 }), 'but found -4'],
    [attention({ kv_num_heads: 2 ** 32 }), 'expected 1 to 4096 for kv_num_heads'],
    [node('GatherBlockQuantized', { bits: 0 }), 'expected 2 to 8 for bits of GatherBlockQuantized'],
    [node('GatherBlockQuantized', { block_size: 0 }), 'expected 16 to 65536 for block_size'],
    [node('MatMulNBits', { block_size: -32 }), 'expected 16 to 65536 for block_size of MatMulNBits'],
  ])('are refused: %j', (hostile, message) => {
    const check = () => checkNumbers({ nodes: [attention({}), hostile], functions: [] }, 'model.onnx');
    expect(check).toThrow(message);
    expect(check).toThrow(expect.objectContaining({ code: 'bad-file' }));
  });

  it('are refused in functions, and where a caller hands them to one, through others', () => {
    const inner = { domain: 'own', name: 'Inner', nodes: [node('GroupQueryAttention', {}, { num_heads: 'heads' })] };
    const call = (ints: NodeNumbers['ints'], references = {}) => ({
      ...node('Inner', ints, references),
      domain: 'own',
    });
    const outer = { domain: 'own', name: 'Outer', nodes: [call({}, { heads: 'count' })] };
    const model = (nodes: readonly NodeNumbers[]) => ({ nodes, functions: [outer, inner] });
    expect(() => checkNumbers(model([{ ...call({ count: 8 }), opType: 'Outer' }]), 'model')).not.toThrow();
    expect(() => checkNumbers(model([{ ...call({ count: 0 }), opType: 'Outer' }]), 'model')).toThrow(
      'expected 1 to 4096 for count of Outer "node" but found 0',
    );
    const body = { domain: 'own', name: 'Body', nodes: [attention({ num_heads: -1 })] };
    expect(() => checkNumbers({ nodes: [], functions: [body] }, 'model')).toThrow('but found -1');
  });

  it('are those of these operators alone', () => {
    const others = [node('Other', { num_heads: 0, bits: 0 }), { ...attention({ num_heads: 0 }), domain: 'own' }];
    expect(() => checkNumbers({ nodes: [attention({}), ...others], functions: [] }, 'model')).not.toThrow();
  });
});
