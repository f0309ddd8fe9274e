/** The presets, in the order in which messages name them. A new one is a file and a line here. */
import { ffnSkip } from './ffn-skip.ts';
import type { OptionsOf } from './preset.ts';
import { replace } from './replace.ts';
import { topK } from './top-k.ts';

export const PRESETS = [ffnSkip, topK, replace] as const;

/** What a user asks of a plan: the options of one of the presets. */
export type PlanOptions = OptionsOf<(typeof PRESETS)[number]>;
