/** Which layers see everything and which see a window, worked out by hand. */
import { describe, expect, test } from 'vitest';
import { fullEvery, type LayerKindFields, layerKindProblems, layerKinds } from './layer-kinds.ts';

const kinds = (fields: LayerKindFields, every?: number) =>
  layerKinds(every === undefined ? fields : fullEvery(every)(fields, {}, 'model'), 'model').map((kind) => kind[0]);

test('all layers are alike, by whether there is a window', () => {
  expect(kinds({ num_hidden_layers: 2 })).toEqual(['f', 'f']);
  expect(kinds({ num_hidden_layers: 2, sliding_window: null })).toEqual(['f', 'f']);
  expect(kinds({ num_hidden_layers: 2, sliding_window: 8 })).toEqual(['s', 's']);
});

test('of two kinds, every n-th sees everything: the second first in Gemma 2, the sixth in Gemma 3', () => {
  const fields = { num_hidden_layers: 7, sliding_window: 8 };
  expect(kinds(fields, 2).join('')).toBe('sfsfsfs');
  expect(kinds(fields, 6).join('')).toBe('sssssfs');
  expect(kinds({ ...fields, sliding_window_pattern: 3 }, 6).join('')).toBe('ssfssfs');
});

test('layer_types goes before any pattern', () => {
  const layer_types = ['full_attention', 'sliding_attention', 'full_attention'];
  const fields = { num_hidden_layers: 3, sliding_window: 8, sliding_window_pattern: 1, layer_types };
  expect(kinds(fields, 2).join('')).toBe('fsf');
});

test('a model without windowed layers needs no window', () => {
  expect(
    kinds({ num_hidden_layers: 2, sliding_window: null, layer_types: Array(2).fill('full_attention') }, 2),
  ).toEqual(['f', 'f']);
});

describe('problems', () => {
  test.each([
    [{ num_hidden_layers: 3, layer_types: ['full_attention'] }, 'layer_types names 1 layers, num_hidden_layers is 3'],
    [{ num_hidden_layers: 2, sliding_window: null }, 'layers attend to a window, and sliding_window is null'],
  ])('%j', (fields, problem) => {
    expect(() => kinds(fields, 2)).toThrow(
      expect.objectContaining({ code: 'bad-file', message: expect.stringContaining(problem) }),
    );
  });

  test('kinds that are not built, and two kinds where there is one', () => {
    const mixed = ['full_attention', 'sliding_attention'];
    const of = (layer_types: string[], areAlike: boolean) =>
      layerKindProblems({ num_hidden_layers: 2, sliding_window: 8, layer_types }, areAlike);
    expect(of(mixed, false)).toEqual([]);
    expect(of(mixed, true)).toEqual([
      'layer_types = ["full_attention","sliding_attention"]: layers of other kinds than sliding_attention',
    ]);
    expect(of(['chunked_attention', 'full_attention'], false)[0]).toContain(
      'layers of other kinds than full_attention and sliding_attention',
    );
  });
});
