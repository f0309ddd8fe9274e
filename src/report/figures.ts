/**
 * The files with figures that a model folder may have, as far as a page shows them. They are JSON of any origin: what is not shown
 * is not looked at.
 */
import * as z from 'zod';
import { MAX_LAYERS } from '../core/model.ts';

/** Of any measurement: beyond it, sums and axes of charts would leave what a number holds. */
const LARGEST = 1e30;

const magnitude = z.number().min(-LARGEST).max(LARGEST);
const positive = z
  .number()
  .min(1 / LARGEST)
  .max(LARGEST);
const share = z.number().min(0).max(1);
const count = z.int().nonnegative();

/** Of a kind of thing, far more than any run makes. A page of more would show nobody anything. */
const MOST = 1000;

const ratioSchema = z.object({ value: positive, standardError: magnitude.nullable(), upperBound: positive.nullable() });

const perplexitySchema = z.object({ perplexity: positive });

const realisedSchema = z.object({
  skippedShare: share,
  density: share.nullable(),
  computedShare: share,
  layers: z.array(z.object({ layer: count, skippedShare: share, density: share.nullable() })).max(MAX_LAYERS),
});

const modeSchema = z.object({
  mode: z.string(),
  windows: count,
  windowLength: count,
  scoredTokens: count,
  baseline: perplexitySchema,
  model: perplexitySchema,
  perplexityRatio: ratioSchema,
  rounded: perplexitySchema.extend({ rounding: ratioSchema, leavingOut: ratioSchema }).nullable(),
  meanKl: magnitude,
  klUpperBound: magnitude.nullable(),
  top1Agreement: share,
  realised: realisedSchema.nullable(),
});

/** `lacuna eval --json`, and what `build` keeps. */
export const evaluationSchema = z.object({
  precision: z.string(),
  againstPrecision: z.string().optional(),
  against: z.string().optional(),
  engine: z.string(),
  texts: z.array(z.object({ name: z.string(), sha256: z.string() })).max(MOST),
  perplexity: z.object({ perplexity: positive, scoredTokens: count, windows: count, windowLength: count }).optional(),
  modes: z.array(modeSchema).max(2),
  check: z.object({ maxPplRatio: positive, upperBound: positive, passed: z.boolean() }).optional(),
  definitions: z.record(z.string(), z.string()),
});

const spreadSchema = z.object({ median: positive, p10: positive, p90: positive });
const speedupSchema = spreadSchema.extend({ lowerBound: positive.nullable(), upperBound: positive.nullable() });

const subjectSchema = z.object({
  name: z.string(),
  /** Absent in files of earlier versions, null where nothing said it. */
  engine: z.string().nullish(),
  decodeTokensPerSecond: spreadSchema,
  prefillTokensPerSecond: spreadSchema,
  weightBytesPerToken: positive.nullable(),
  expectedTokensPerSecond: positive.nullable(),
});

/** `lacuna bench --json`, and what `build` keeps. The last subject is the folder's model; one before it is the baseline. */
export const benchSchema = z.object({
  threads: count.nullable(),
  promptTokens: count,
  repeats: count,
  rounds: count,
  subjects: z.array(subjectSchema).min(1).max(2),
  speedup: speedupSchema.nullable(),
  expectedSpeedup: positive.nullable(),
});

const candidateSchema = z.object({
  name: z.string(),
  kl: magnitude.nullable(),
  /** null where the host's costs do not say it. */
  seconds: positive.nullable(),
  bytes: positive,
  shown: z.object({ ratio: ratioSchema, kl: z.object({ value: magnitude, upperBound: magnitude.nullable() }) }),
  blocks: z.record(z.string(), count),
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
  tokens: z.array(z.object({ text: z.string(), computed: share, ran: share })).max(MOST),
});

export type Evaluation = z.infer<typeof evaluationSchema>;
export type Mode = Evaluation['modes'][number];
export type Ratio = Mode['perplexityRatio'];
export type Bench = z.infer<typeof benchSchema>;
export type Speedup = NonNullable<Bench['speedup']>;
export type Search = z.infer<typeof searchSchema>;
export type Candidate = Search['candidates'][number];
export type Sample = z.infer<typeof sampleSchema>;
