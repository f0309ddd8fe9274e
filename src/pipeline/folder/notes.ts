/** What a user should know about a precision that no option says. */
import type { Checkpoint } from '../../core/checkpoint.ts';
import type { Precision } from '../../core/precision.ts';

/** For precisions that store bfloat16: who widens it, and whether weights are rounded to it. */
export function bfloat16Notes(precisions: readonly Precision[], { tensors }: Checkpoint): string[] {
  if (!precisions.some(({ linear, vocabulary }) => [linear, vocabulary].some(({ kind }) => kind === 'widened')))
    return [];
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2);
  const rounded = [...new Set(matrices.map(({ dtype }) => dtype))].filter((dtype) => dtype !== 'bfloat16');
  const notes = ['bf16 halves the file, not the memory: runtimes without bfloat16 kernels widen weights as they load.'];
  if (rounded.length > 0)
    notes.push(`Weights come as ${rounded.join(', ')}: bf16 rounds them to 8 significant bits, where fp16 has 11.`);
  return notes;
}
