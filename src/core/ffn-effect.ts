/** What an error of an FFN block costs at the end of the model: calibration measures it, plans weigh errors by it. */
import { LacunaError } from './errors.ts';
import { type Sums, sumData } from './statistics.ts';

/** One sequence of this many is measured. */
export const EFFECT_STEP = 8;

/**
 * Of a layer: the KL divergence at the head, in nats, for each share of the stream that its FFN block gets wrong. NaN where
 * no sequence was measured.
 */
export function effectOf(sums: Sums, layer: number): number {
  const pair = (name: string) => sumData(sums, name, 'float64', [-1, 2]).subarray(2 * layer, 2 * layer + 2);
  const [share, tokens] = pair('moved');
  const [nats, positions] = pair('divergence');
  // A block that adds the same to all tokens cannot be got wrong.
  return share === 0 && tokens > 0 ? 0 : nats / positions / (share / tokens);
}

/** `effectOf` all layers. Throws `bad-file` where no sequence was measured. */
export function effectsOf(sums: Sums): readonly number[] {
  const layers = sumData(sums, 'moved', 'float64', [-1, 2]).length / 2;
  return Array.from({ length: layers }, (_, layer) => {
    const effect = effectOf(sums, layer);
    if (effect >= 0 && effect < Number.POSITIVE_INFINITY) return effect;
    throw new LacunaError('bad-file', `The effect of layer ${layer}'s FFN block was measured on no sequence`, {
      hint: `Merge all shards, or calibrate again: ${EFFECT_STEP} sequences or more are sure to have one that is measured.`,
    });
  });
}
