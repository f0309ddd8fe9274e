/** What to leave out of which block, as readable, versioned JSON. The types derive from the schema that reads files. */
import * as z from 'zod';
import { MODES, measureNamed, type NeuronChoice, PLANNED_MEASURES, RESTS } from './choice.ts';
import { invalidArgument } from './errors.ts';
import { BLOCK_PARTS, type BlockPart, modelIdentitySchema } from './model.ts';
import { toThisVersion } from './plan-version-1.ts';
import { FLOATS, HOST_DTYPES, PRECISION_NAMES, type Precision, precisionNamed } from './precision.ts';
import { textIdentitySchema } from './statistics.ts';
import { TARGET_KINDS } from './target.ts';

export const PLAN_FORMAT = 'lacuna.plan';
export const PLAN_VERSION = 2;

const share = z.number().min(0).max(1);

const cutSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('absolute'), threshold: z.number().nonnegative() }),
  z.strictObject({ kind: z.literal('mean'), threshold: z.number().nonnegative() }),
  z.strictObject({ kind: z.literal('deviation'), density: share, mode: z.enum(MODES) }),
]);

/**
 * Which FFN neurons of a block a token computes (src/core/choice.ts): neuron j where its measure reaches the cut. It
 * also says what the others become. `tensors` names float32 tensors of the plan by role. `weights` [intermediate_size] is
 * E|up_j| * ||down column j|| for measure `activation`, and the norm alone for the products.
 */
export const choiceSchema = z
  .strictObject({
    measure: z.enum(PLANNED_MEASURES),
    cut: cutSchema,
    rest: z.enum(RESTS),
    tensors: z.strictObject({ weights: z.string().optional() }),
  })
  .superRefine(({ measure, cut, tensors }, context) => {
    const contract = measureNamed(measure);
    if (!contract.cuts.includes(cut.kind))
      context.addIssue({ code: 'custom', path: ['cut', 'kind'], message: `measure ${measure} has no cut ${cut.kind}` });
    const wanted = contract.tensors.join();
    if (Object.keys(tensors).sort().join() !== wanted)
      context.addIssue({
        code: 'custom',
        path: ['tensors'],
        message: `measure ${measure} needs tensors: ${wanted || 'none'}`,
      });
  });

/** FFN-SkipLLM's test on this block: once cos(h, h + FFN(norm h)) >= threshold, the next `runLength` blocks are skipped. */
export const skipSchema = z.strictObject({ threshold: z.number().min(-1), runLength: z.int().min(1) });

/**
 * An affine map in the block's place (src/plan/low-rank-fit.ts): y = expand (reduce x) + offset, x the block's normed
 * input, y what the block would add to the stream. With a `gate`, only for tokens whose expected error, a share of the
 * stream's energy, is at most the threshold: slope x + curvature |x|^2 + intercept (src/plan/error-gate.ts). The others run
 * the block. `tensors` names float32 tensors of the plan by role: `reduce` [rank, hidden], `expand` [hidden, rank],
 * `offset` [hidden], `slope` [hidden]; `quantiles` [GATE_QUANTILES] are the expected errors of the tokens past the warm-up that
 * it was fitted to, the least and the largest with equal shares of the tokens between them. Thresholds are moved by them, and
 * stay where a plan has none.
 */
export const repairSchema = z.strictObject({
  rank: z.int().min(1),
  tensors: z.strictObject({ reduce: z.string(), expand: z.string(), offset: z.string() }),
  gate: z
    .strictObject({
      threshold: z.number(),
      curvature: z.number(),
      intercept: z.number(),
      tensors: z.strictObject({ slope: z.string(), quantiles: z.string().optional() }),
    })
    .optional(),
});

/**
 * Where the plan must pay: with our kernels (the default), where everything asked for is planned; or in stock ONNX
 * Runtime, with weights in that storage, where the plan leaves out only what makes a block faster. The times of blocks
 * depend on the storage: with our kernels they are expected where it is given.
 */
export const hostSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('native'), dtype: z.enum(HOST_DTYPES).optional() }),
  z.strictObject({ kind: z.literal('stock'), dtype: z.enum(HOST_DTYPES) }),
]);

export const blockPlanSchema = z
  .strictObject({
    /** `layers.<i>.attention` or `layers.<i>.ffn`: from residual in to residual out, norms included. */
    block: z.string().regex(new RegExp(`^layers\\.\\d+\\.(${BLOCK_PARTS.join('|')})$`)),
    /** How the block's matrices are stored, where not as the host's dtype says. Converters read this. */
    dtype: z.enum(HOST_DTYPES).optional(),
    /** What is done to an FFN block: fields that a pass of src/rewrite reads each. */
    choice: choiceSchema.optional(),
    skip: skipSchema.optional(),
    repair: repairSchema.optional(),
    expected: z.strictObject({
      /** Share of FFN neurons computed. */
      density: share.optional(),
      /** Share of the block's output energy kept, summed over neurons. */
      keptEnergy: share.optional(),
      /** Share of tokens that skip this block. */
      skipped: share.optional(),
      /** Bytes of the block's weights, as float32, that are read for each decoded token, and of what predicts. */
      bytesPerToken: z.number().nonnegative(),
      /** Time on the plan's host, as a share of the dense block's. Only where the host's times are known. */
      time: z.number().nonnegative().optional(),
      /** What the block adds to the KL divergence from the checkpoint's floats, in nats a token. */
      kl: z.number().optional(),
    }),
    /** What was measured of this block. */
    why: z.string(),
  })
  .refine(
    ({ block, choice, skip, repair }) => partOfBlock(block) === 'ffn' || (choice ?? skip ?? repair) === undefined,
    {
      message: 'only FFN blocks are skipped or choose neurons, or are replaced',
    },
  )
  .refine(({ choice, skip, repair }) => repair === undefined || (choice ?? skip) === undefined, {
    message: 'a block that is replaced is not skipped beside it, nor chooses neurons',
  });

/**
 * Whether every token has something else in the block's place, so that the model does not have the block's weights. Such
 * a block cannot run in a dense prefill, nor to measure what rounding alone costs.
 */
export function isReplaced({ repair }: Pick<BlockPlan, 'repair'>): boolean {
  return repair !== undefined && repair.gate === undefined;
}

export const prefillSchema = z.enum(['sparse', 'dense']);

const planOfThisVersion = z.strictObject({
  format: z.literal(PLAN_FORMAT),
  version: z.literal(PLAN_VERSION),
  /** The preset that made it. The reader of plan files knows the presets. */
  preset: z.string().min(1),
  host: hostSchema.default({ kind: 'native' }),
  model: modelIdentitySchema,
  /** sha256 of the statistics it was made from, or of the measured losses of blocks. */
  statistics: z.string(),
  /** The texts that those were measured on; absent in older plans. */
  texts: z.array(textIdentitySchema).optional(),
  /** The .safetensors file beside the plan that holds its tensors, bound by hash; null when it has none. */
  tensors: z.strictObject({ file: z.string(), sha256: z.string() }).nullable(),
  /** What was asked for: a share of FFN blocks skipped, or a share of neurons kept. null where nothing is left out. */
  target: z.strictObject({ kind: z.enum(TARGET_KINDS), value: share }).nullable(),
  /** What was asked for in its place, as `parseBudget` reads it. */
  budget: z.string().optional(),
  /** `sparse`: every token; `dense`: calls with more than one token a row run dense. */
  prefill: prefillSchema,
  /** Shared by all blocks that tokens skip: those at positions below `warmUpTokens` never do; `reArm` tests again after a run. */
  skipping: z.strictObject({ warmUpTokens: z.int().nonnegative(), reArm: z.boolean() }).nullable(),
  /** What holds for all blocks: where thresholds come from, and what the plan should not be trusted for. */
  notes: z.array(z.string()).optional(),
  /** In layer order; a block that is not listed stays as it is (a cold layer). */
  blocks: z.array(blockPlanSchema),
});

/** Plans of version 1 are converted. */
export const planSchema = z.preprocess(toThisVersion, planOfThisVersion);

export type Plan = z.infer<typeof planSchema>;
export type Target = NonNullable<Plan['target']>;
/** A plan that leaves something out. */
export type AimedPlan = Plan & { readonly target: Target };
export type Host = Plan['host'];
export type BlockPlan = z.infer<typeof blockPlanSchema>;
export type Choice = z.infer<typeof choiceSchema>;
export type Repair = z.infer<typeof repairSchema>;

/** The plan's tensors by name, as read from the file beside it. */
export type PlanTensors = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;

/** Whether a model is sparse: a plan may also just say how blocks are stored. */
export function leavesOut(plan: Plan | null): plan is AimedPlan {
  return plan !== null && plan.target !== null;
}

/** What a plan does to a block beside storing it: the names of its fields, as `choice`, `skip` and `repair`. */
export function actionsOf({ block: _, dtype: __, expected: ___, why: ____, ...actions }: BlockPlan): string[] {
  return Object.entries(actions).flatMap(([name, value]) => (value === undefined ? [] : [name]));
}

/** Numbers that say how the errors that a gate expects are distributed. */
export const GATE_QUANTILES = 65;

/** The tensors that a repair names, with the shape that each has in a model of this width. */
export function repairTensors({ rank, tensors, gate }: Repair, hidden: number) {
  const own = [
    { name: tensors.reduce, shape: [rank, hidden] },
    { name: tensors.expand, shape: [hidden, rank] },
    { name: tensors.offset, shape: [hidden] },
  ];
  if (gate === undefined) return own;
  const { slope, quantiles } = gate.tensors;
  const moved = quantiles === undefined ? [] : [{ name: quantiles, shape: [GATE_QUANTILES] }];
  return [...own, { name: slope, shape: [hidden] }, ...moved];
}

export function neuronChoice({ measure, cut }: Choice): NeuronChoice {
  return cut.kind === 'deviation' ? { measure, cut: cut.kind, mode: cut.mode } : { measure, cut: cut.kind };
}

/**
 * The host of a name, with weights stored as `dtype`. Throws `usage` for an unknown one, and for
 * one in which nothing pays there. That of GPUs is native without a storage: nobody knows what it costs.
 */
export function hostNamed(kind: Host['kind'], dtype: string = FLOATS): Host {
  const known = HOST_DTYPES.find((name) => name === dtype);
  if (known !== undefined) return { kind, dtype: known };
  if (kind === 'native' && PRECISION_NAMES.some((name) => name === dtype)) return { kind };
  const where = kind === 'native' ? 'the native kernels' : 'stock ONNX Runtime';
  throw invalidArgument(`the dtype of a plan for ${where}`, HOST_DTYPES.join(', '), dtype);
}

/** The layer index of `layers.<i>.<part>`. */
export function layerOfBlock(block: string): number {
  return Number(block.split('.')[1]);
}

export function partOfBlock(block: string): BlockPart {
  return block.split('.')[2] as BlockPart;
}

/** Blocks in the order in which a token passes them. */
export function placeOfBlock(block: string): number {
  return layerOfBlock(block) * BLOCK_PARTS.length + BLOCK_PARTS.indexOf(partOfBlock(block));
}

/** How a plan stores blocks that it stores in a precision of their own, by their names. */
export function mixOf({ blocks }: Pick<Plan, 'blocks'>): ReadonlyMap<string, Precision> {
  return new Map(blocks.flatMap(({ block, dtype }) => (dtype === undefined ? [] : [[block, precisionNamed(dtype)]])));
}
