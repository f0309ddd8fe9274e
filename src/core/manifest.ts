/** `lacuna.json` in an output folder: what was made, from what, how, and what each file hashes to. */
import * as z from 'zod';
import { modelSpecSchema } from './model.ts';
import { planSchema } from './plan.ts';
import { PRECISION_NAMES, ROUNDINGS } from './precision.ts';
import { textIdentitySchema } from './statistics.ts';
import { verificationSchema } from './verification.ts';

export const MANIFEST_FORMAT = 'lacuna.manifest';
export const MANIFEST_VERSION = 1;

/** Written into every output; equals the package's version (a test says so). */
export const LACUNA_VERSION = '0.1.0';

/** One model of a folder. */
const modelSchema = z.object({
  /** Where it is in the folder; its weights are beside it. */
  file: z.string().regex(/^onnx\/model\w*\.onnx$/),
  precision: z.enum(PRECISION_NAMES),
  /** How weights are stored in blocks, where they are. */
  blocks: z.object({ blockSize: z.int().positive(), symmetric: z.boolean() }).optional(),
  /** The precision that stores everything as embedding and head are stored here. */
  vocabulary: z.enum(PRECISION_NAMES),
  /** How weights were rounded by texts; absent where they were by none. */
  rounding: z.enum(ROUNDINGS).optional(),
  /** The texts, with the tokens that were measured of each. */
  calibratedOn: z.array(textIdentitySchema.strip()).optional(),
  /** Version of our operators that it calls; absent where it calls none, and in folders from before that was counted. */
  operatorSet: z.int().positive().optional(),
  /** The oldest ONNX Runtime that loads it. */
  onnxruntime: z.string(),
});

export const manifestSchema = z.object({
  format: z.literal(MANIFEST_FORMAT),
  version: z.literal(MANIFEST_VERSION),
  lacuna: z.string(),
  /** One a precision; the first is what hosts open by default. */
  models: z.array(modelSchema).min(1),
  spec: modelSpecSchema,
  /** Fingerprint of the checkpoint it was made from. */
  fingerprint: z.string(),
  /** The plan it was sparsified by; null for a dense model. */
  plan: planSchema.nullable(),
  /** What `lacuna verify` found, the last result of each precision. */
  checks: z.array(verificationSchema).optional(),
  files: z.array(z.object({ path: z.string(), bytes: z.int().nonnegative(), crc32: z.string() })),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestModel = Manifest['models'][number];
