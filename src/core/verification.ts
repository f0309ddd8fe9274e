/** How a converted model compares with a reference: figures, limits and verdict, as `lacuna.json` keeps them. */
import * as z from 'zod';
import { PRECISION_NAMES } from './precision.ts';

const figuresSchema = z.object({
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
  /** Versions of the programs that computed the reference. */
  tools: z.record(z.string(), z.string()),
  /** null if the model gave NaN or infinity; likewise `prefill` and `decode`. */
  all: figuresSchema.nullable(),
  /** `all` split into positions of prompts, and tokens decoded one a call after them. */
  prefill: figuresSchema.nullable(),
  decode: figuresSchema.nullable(),
  /** Whether texts have the ids that the reference's tokenizer gives; null if there is no such tokenizer. */
  sameTokenIds: z.boolean().nullable(),
  /** Upper limits of `relativeDifference` and `meanKl`, lower limit of `top1Agreement`. */
  limits: figuresSchema.omit({ rows: true }).partial(),
  passed: z.boolean(),
  /** One sentence for each limit that was exceeded, or for another fault. */
  failures: z.array(z.string()),
});

export type Verification = z.infer<typeof verificationSchema>;
