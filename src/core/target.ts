/** What a plan may aim at: a share that a model keeps or leaves out. Plans, corrections and texts ask this table. */
import { ffnBlock } from './model.ts';

/** What was measured of a planned model, on a text that was not used to make the plan. */
export interface MeasuredShares {
  /** Share of all FFN blocks (tokens times layers) that were skipped. */
  readonly skippedShare: number;
  /** Share of neurons computed in the blocks that ran; null where none did. */
  readonly density: number | null;
  readonly layers: readonly { readonly layer: number; readonly density: number | null }[];
}

/** The same, as far as a correction needs it. */
export type Realised =
  /** Share of neurons computed in each block, by its name. */
  | { readonly kind: 'density'; readonly byBlock: Readonly<Record<string, number>> }
  /** Share of all FFN blocks (tokens times layers) that were skipped. */
  | { readonly kind: 'skipped-blocks'; readonly share: number };

export type TargetKind = Realised['kind'];

interface TargetWords {
  /** The option of presets that states the share, and its flag. */
  readonly option: string;
  /** What a share is of: "30 % of <outcome>". */
  readonly outcome: string;
  /** The same as a sentence: "about 30 % of the <perToken> per token". */
  readonly perToken: string;
  /** What the plan aims at, of a model with these blocks planned. */
  readonly share: (measured: MeasuredShares, planned: readonly string[]) => number;
  readonly realised: (measured: MeasuredShares) => Realised;
}

export const TARGETS: Readonly<Record<TargetKind, TargetWords>> = {
  // Blocks that are left out are skipped, or something else is in their place.
  'skipped-blocks': {
    option: 'skip',
    outcome: 'FFN blocks left out',
    perToken: 'FFN blocks are left out',
    share: ({ skippedShare }) => skippedShare,
    realised: ({ skippedShare }) => ({ kind: 'skipped-blocks', share: skippedShare }),
  },
  density: {
    option: 'keep',
    outcome: 'neurons kept',
    perToken: 'FFN neurons are computed',
    // Of the blocks that the plan leaves out something of: the others compute all of their neurons.
    share: ({ layers }, planned) => {
      const densities = layers.flatMap(({ layer, density }) =>
        planned.includes(ffnBlock(layer)) ? [density ?? 0] : [],
      );
      return densities.reduce((sum, density) => sum + density, 0) / Math.max(1, densities.length);
    },
    realised: ({ layers }) => ({
      kind: 'density',
      byBlock: Object.fromEntries(layers.map(({ layer, density }) => [ffnBlock(layer), density ?? 0])),
    }),
  },
};

export const TARGET_KINDS = Object.keys(TARGETS) as readonly TargetKind[];
