/** FFN-SkipLLM's greedy rule, run over the cosines that calibration recorded for every token and layer. */
import type { Region, SaturationTrace } from '../core/saturation.ts';

/** The rule's parameters; blocks outside the region are cold: neither tested nor skipped. */
export interface SkipRule extends Region {
  /** A block passes the test when its angle's level is at most this; -1 lets none pass. */
  readonly level: number;
  readonly runLength: number;
  readonly warmUpTokens: number;
  readonly reArm: boolean;
}

/** A token that will not skip again before its last layer. */
const DISARMED = -1;

/**
 * What the rule would skip (FFN-SkipLLM, section 3, algorithm 1): tokens by layer, and blocks as a share of all (tokens
 * times layers). Past the warm-up, a block of the region that is computed and whose cosine reaches the threshold has
 * the next `runLength` blocks skipped, untested; then, with `reArm`, testing goes on, else the token skips no more. The
 * cosines are the dense model's, and a skipped block changes what later layers see: `retune` corrects for it.
 */
export function simulateSkips(trace: SaturationTrace, rule: SkipRule) {
  const { layers, tokens, levels, positions } = trace;
  const byLayer = new Array<number>(layers).fill(0);
  for (let token = 0; token < tokens; token++) {
    if (positions[token] < rule.warmUpTokens) continue;
    let state = 0;
    for (let layer = rule.start; layer < rule.end; layer++) {
      if (state > 0) {
        byLayer[layer] += 1;
        state -= 1;
        if (state === 0 && !rule.reArm) state = DISARMED;
      } else if (state === 0 && levels[layer * tokens + token] <= rule.level) {
        state = rule.runLength;
      }
    }
  }
  return { byLayer, share: byLayer.reduce((sum, count) => sum + count, 0) / (tokens * layers) };
}
