/** Plans for the layers of `ffnStack`, written out as tests need them. */
import type { BlockPlan, Choice, Plan } from '../src/core/plan.ts';
import { HIDDEN, NEURONS } from './ffn-stack.ts';

/** A choice by |act(gate)| * weights, the plan's tensor `scores`. */
export function byActivation(threshold: number, kind: 'absolute' | 'mean' = 'absolute', weights = 'scores'): Choice {
  return { measure: 'activation', cut: { kind, threshold }, rest: 'nothing', tensors: { weights } };
}

/** A choice by the gate, as Spark Transformer has it. */
export function byGate(density: number, mode: 'soft' | 'hard' = 'soft'): Choice {
  return { measure: 'gate', cut: { kind: 'deviation', density, mode }, rest: 'nothing', tensors: {} };
}

export interface BlockChoice {
  readonly layer: number;
  readonly choice?: Choice;
  /** Share of neurons expected to be chosen. */
  readonly density?: number;
  readonly skip?: { readonly threshold: number; readonly runLength: number };
}

export function stackPlan(layers: number, blocks: readonly BlockChoice[], rest: Partial<Plan> = {}): Plan {
  return {
    format: 'lacuna.plan',
    version: 2,
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

function blockPlan({ layer, density, ...rest }: BlockChoice): BlockPlan {
  return { block: `layers.${layer}.ffn`, ...rest, expected: { density, bytesPerToken: 0 }, why: 'a test' };
}
