/**
 * Widens heads to a multiple of 16 and back, around an operator that takes no other widths. Rotary positions turn the
 * first half of a head against the second, so each half is padded with zeros on its own. Zeros change no product.
 */
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { rotaryColumns } from './rotary.ts';

/** How heads lie in a tensor: its dimensions before the head's own (0 = unchanged), and its shape by a head's width. */
export interface HeadLayout {
  readonly before: readonly number[];
  readonly shape: (width: number) => readonly number[];
}

/** [b, s, heads * width]. */
export function sideBySide(heads: number): HeadLayout {
  return { before: [0, 0, heads], shape: (width) => [0, 0, heads * width] };
}

/** [b, heads, s, width]. */
export const CACHE_LAYOUT: HeadLayout = { before: [0, 0, 0], shape: (width) => [0, 0, 0, width] };

/** x with heads of `headDim` -> the same with heads of the next multiple of 16. */
export function widenHeads(g: GraphBuilder, x: string, layout: HeadLayout, headDim: number): string {
  const [half, wideHalf] = [headDim / 2, rotaryColumns(headDim)];
  const halves = g.op('Reshape', [x, g.int64(...layout.before, 2, half)]);
  // Pad takes the padding before each axis, then the padding after it. The halves are five axes.
  const widened = g.op('Pad', [halves, g.int64(...Array<number>(9).fill(0), wideHalf - half)]);
  return g.op('Reshape', [widened, g.int64(...layout.shape(2 * wideHalf))]);
}

/** Undoes `widenHeads`; `output` names the result. */
export function narrowHeads(g: GraphBuilder, x: string, layout: HeadLayout, headDim: number, output: string): string {
  const [half, wideHalf] = [headDim / 2, rotaryColumns(headDim)];
  const halves = g.op('Reshape', [x, g.int64(...layout.before, 2, wideHalf)]);
  const cut = g.op('Slice', [halves, g.int64(0), g.int64(half), g.int64(4)]);
  return g.op('Reshape', [cut, g.int64(...layout.shape(headDim))], { outputs: [output] });
}
