/** What holding a converted model against a reference gave: figures, limits and verdict, as `lacuna.json` keeps them. */
import * as z from 'zod';
import { PRECISION_NAMES } from './precision.ts';

const figuresSchema = z.object({
  /** Rows of logits that were compared. */
  rows: z.int().nonnegative(),
  /** Largest |difference| of a logit, divided by the reference's largest |logit|. */
  relativeDifference: z.number().nonnegative(),
  /** KL(reference || model) in nats, the mean over rows. */
  meanKl: z.number().nonnegative(),
  /** Share of rows whose likeliest token is the reference's. */
  top1Agreement: z.number().min(0).max(1),
});

export type VerificationFigures = z.infer<typeof figuresSchema>;

export const verificationSchema = z.object({
  precision: z.enum(PRECISION_NAMES),
  /** Transformers, run for this check, or a file of what it computed before. */
  reference: z.enum(['transformers', 'expectations']),
  /** Versions of what computed the reference. */
  tools: z.record(z.string(), z.string()),
  /** null where the model gave NaN or infinity, as `prefill` and `decode` are. */
  all: figuresSchema.nullable(),
  /** Of `all`, positions of prompts, and tokens decoded one a call after them. */
  prefill: figuresSchema.nullable(),
  decode: figuresSchema.nullable(),
  /** Whether texts have the ids that the reference's tokenizer gives them; null where there is none to ask. */
  sameTokenIds: z.boolean().nullable(),
  /** `relativeDifference` and `meanKl` may be at most, `top1Agreement` at least this. */
  limits: figuresSchema.omit({ rows: true }).partial(),
  passed: z.boolean(),
  /** One sentence for each limit that was broken, or for what else is wrong. */
  failures: z.array(z.string()),
});

export type Verification = z.infer<typeof verificationSchema>;
