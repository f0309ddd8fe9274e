/** `lacuna.json` in an output folder: what was made, from what, how, and the hash of each file. */
import * as z from 'zod';
import { modelSpecSchema } from './model.ts';
import { planSchema } from './plan.ts';
import { PRECISION_NAMES, ROUNDINGS } from './precision.ts';
import { textIdentitySchema } from './statistics.ts';
import { verificationSchema } from './verification.ts';

export const MANIFEST_FORMAT = 'lacuna.manifest';
export const MANIFEST_VERSION = 1;

/** Written into every output. Equals the package's version; a test checks that. */
export const LACUNA_VERSION = '0.1.0';

const modelSchema = z.object({
  /** Its path in the folder; its weights are beside it. */
  file: z.string().regex(/^onnx\/model\w*\.onnx$/),
  precision: z.enum(PRECISION_NAMES),
  blocks: z.object({ blockSize: z.int().positive(), symmetric: z.boolean() }).optional(),
  /** The precision that stores everything as this model stores embedding and head. */
  vocabulary: z.enum(PRECISION_NAMES),
  /** How weights were rounded by texts; absent if they were not. */
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
  /** One for each precision. Hosts open the first by default. */
  models: z.array(modelSchema).min(1),
  spec: modelSpecSchema,
  /** Fingerprint of the checkpoint it was made from. */
  fingerprint: z.string(),
  /** The plan that it was sparsified by; null for a dense model. */
  plan: planSchema.nullable(),
  /** What `lacuna verify` found: the last result of each precision. */
  checks: z.array(verificationSchema).optional(),
  files: z.array(z.object({ path: z.string(), bytes: z.int().nonnegative(), crc32: z.string() })),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestModel = Manifest['models'][number];
