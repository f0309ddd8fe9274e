/** What a plan may aim at: a share that a model keeps or leaves out. Plans, corrections and texts ask this table. */

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
  readonly share: (measured: MeasuredShares) => number;
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
    share: ({ density }) => density ?? 0,
    realised: ({ layers }) => ({
      kind: 'density',
      byBlock: Object.fromEntries(layers.map(({ layer, density }) => [`layers.${layer}.ffn`, density ?? 0])),
    }),
  },
};

export const TARGET_KINDS = Object.keys(TARGETS) as readonly TargetKind[];
