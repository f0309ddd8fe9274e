/**
 * The files with figures that a model folder may have, as far as a page shows them. They are JSON of any origin: what is not shown
 * is not looked at.
 */
import * as z from 'zod';
import { MAX_LAYERS } from '../core/model.ts';

const number = z.number();

/** Of a kind of thing, far more than any run makes. A page of more would show nobody anything. */
const MOST = 1000;

const ratioSchema = z.object({ value: number, standardError: number.nullable(), upperBound: number.nullable() });

const perplexitySchema = z.object({ perplexity: number });

const realisedSchema = z.object({
  skippedShare: number,
  density: number.nullable(),
  computedShare: number,
  layers: z.array(z.object({ layer: z.int(), skippedShare: number, density: number.nullable() })).max(MAX_LAYERS),
});

const modeSchema = z.object({
  mode: z.string(),
  windows: z.int(),
  windowLength: z.int(),
  scoredTokens: z.int(),
  baseline: perplexitySchema,
  model: perplexitySchema,
  perplexityRatio: ratioSchema,
  rounded: perplexitySchema.extend({ rounding: ratioSchema, leavingOut: ratioSchema }).nullable(),
  meanKl: number,
  klUpperBound: number.nullable(),
  top1Agreement: number,
  realised: realisedSchema.nullable(),
});

/** `lacuna eval --json`, and what `build` keeps. */
export const evaluationSchema = z.object({
  precision: z.string(),
  againstPrecision: z.string().optional(),
  against: z.string().optional(),
  engine: z.string(),
  texts: z.array(z.object({ name: z.string(), sha256: z.string() })).max(MOST),
  perplexity: z
    .object({ perplexity: number, scoredTokens: z.int(), windows: z.int(), windowLength: z.int() })
    .optional(),
  modes: z.array(modeSchema).max(2),
  check: z.object({ maxPplRatio: number, upperBound: number, passed: z.boolean() }).optional(),
  definitions: z.record(z.string(), z.string()),
});

const spreadSchema = z.object({ median: number, p10: number, p90: number });
const speedupSchema = spreadSchema.extend({ lowerBound: number.nullable(), upperBound: number.nullable() });

const subjectSchema = z.object({
  name: z.string(),
  decodeTokensPerSecond: spreadSchema,
  prefillTokensPerSecond: spreadSchema,
  weightBytesPerToken: number.nullable(),
  expectedTokensPerSecond: number.nullable(),
});

/** `lacuna bench --json`, and what `build` keeps. The last subject is the folder's model; one before it is the baseline. */
export const benchSchema = z.object({
  threads: z.int().nullable(),
  promptTokens: z.int(),
  repeats: z.int(),
  rounds: z.int(),
  subjects: z.array(subjectSchema).min(1).max(2),
  speedup: speedupSchema.nullable(),
  expectedSpeedup: number.nullable(),
});

const candidateSchema = z.object({
  name: z.string(),
  kl: number.nullable(),
  /** null where the host's costs do not say it. */
  seconds: number.nullable(),
  bytes: number,
  shown: z.object({ ratio: ratioSchema, kl: z.object({ value: number, upperBound: number.nullable() }) }),
  blocks: z.record(z.string(), z.int()),
  isChosen: z.boolean(),
});

/** What a build within a budget keeps of its search. */
export const searchSchema = z.object({
  budget: z.string(),
  candidates: z.array(candidateSchema).max(MOST),
  benchUniform: benchSchema.nullable(),
});

/** A text, token by token, with the share of all FFN neurons and of all blocks that each token computed. */
export const sampleSchema = z.object({
  text: z.string(),
  tokens: z.array(z.object({ text: z.string(), computed: number, ran: number })).max(MOST),
});

export type Evaluation = z.infer<typeof evaluationSchema>;
export type Mode = Evaluation['modes'][number];
export type Ratio = Mode['perplexityRatio'];
export type Bench = z.infer<typeof benchSchema>;
export type Speedup = NonNullable<Bench['speedup']>;
export type Search = z.infer<typeof searchSchema>;
export type Candidate = Search['candidates'][number];
export type Sample = z.infer<typeof sampleSchema>;
