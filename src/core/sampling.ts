/** How the next token is picked from logits: what a generation may ask for. */
import * as z from 'zod';
import type { Given } from './options.ts';

export const SAMPLING = {
  /** 0 (the default) takes the likeliest token; above, logits are divided by it before drawing. */
  temperature: z.number().min(0),
  /** Draws among this many likeliest tokens. */
  topK: z.int().min(1),
  /** Draws among the fewest likeliest tokens that hold at least this share of probability. */
  topP: z.number().gt(0).max(1),
  /** Draws among tokens that have at least this share of the likeliest one's probability; 0 by default. */
  minP: z.number().min(0).max(1),
  /** Above 1, logits of tokens seen before are divided (if positive) or multiplied (if negative) by it (CTRL, section 4.1). */
  repetitionPenalty: z.number().gt(0),
  /** Draws repeat for the same seed; 0 by default. */
  seed: z.int(),
};

export interface SamplingOptions extends Given<typeof SAMPLING> {}
