/** What an error of an FFN block costs at the end of the model: calibration measures it, plans weigh errors by it. */
import { LacunaError } from './errors.ts';
import { type Sums, sumData } from './statistics.ts';

/** One sequence of this many is measured. */
export const EFFECT_STEP = 8;

/**
 * By layer: the KL divergence at the head, in nats, for each share of the stream that the block gets wrong. Throws
 * `bad-file` where no sequence was measured.
 */
export function effectsOf(sums: Sums): readonly number[] {
  const moved = sumData(sums, 'moved', 'float64', [-1, 2]);
  const divergence = sumData(sums, 'divergence', 'float64', [moved.length / 2, 2]);
  return Array.from({ length: moved.length / 2 }, (_, layer) => {
    const [[share, tokens], [nats, positions]] = [moved, divergence].map((sum) =>
      sum.subarray(2 * layer, 2 * layer + 2),
    );
    const effect = nats / positions / (share / tokens);
    // A block that adds the same to all tokens cannot be got wrong.
    if (share === 0 && tokens > 0) return 0;
    if (effect >= 0 && effect < Number.POSITIVE_INFINITY) return effect;
    throw new LacunaError('bad-file', `The effect of layer ${layer}'s FFN block was measured on ${tokens} tokens`, {
      hint: `Merge all shards, or calibrate again: ${EFFECT_STEP} sequences or more are sure to have one that is measured.`,
    });
  });
}
