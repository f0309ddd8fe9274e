/** Plans for the layers of `ffnStack`, written out as tests need them. */
import type { BlockPlan, Plan, Selector } from '../src/core/plan.ts';
import { HIDDEN, NEURONS } from './ffn-stack.ts';

export interface BlockChoice {
  readonly layer: number;
  readonly select?: Selector;
  /** Share of neurons expected to be chosen. */
  readonly density?: number;
  readonly skip?: { readonly threshold: number; readonly runLength: number };
}

export function stackPlan(layers: number, blocks: readonly BlockChoice[], rest: Partial<Plan> = {}): Plan {
  return {
    format: 'lacuna.plan',
    version: 1,
    preset: 'top-k',
    host: { kind: 'native' },
    model: {
      modelType: 'stack',
      fingerprint: 'none',
      numHiddenLayers: layers,
      hiddenSize: HIDDEN,
      intermediateSize: NEURONS,
    },
    statistics: 'none',
    tensors: null,
    target: { kind: 'density', value: 0.5 },
    prefill: 'sparse',
    skipping: { warmUpTokens: 0, reArm: true },
    blocks: blocks.map(blockPlan),
    ...rest,
  };
}

function blockPlan({ layer, density, ...choice }: BlockChoice): BlockPlan {
  return { block: `layers.${layer}.ffn`, ...choice, expected: { density, bytesPerToken: 0 }, why: 'a test' };
}
