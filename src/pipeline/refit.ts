/** `lacuna refit`: what a plan puts in blocks' places is fitted to what arrives there. */
import type * as z from 'zod';
import { type CalibrationInput, type Refitted, refitWalk } from '../../calibrate/index.ts';
import { encodeModel } from '../../formats/onnx/index.ts';
import { writePlan } from '../../formats/plan.ts';
import { LacunaError } from '../core/errors.ts';
import { door, files, optionsOf, path } from '../core/options.ts';
import { leavesOut } from '../core/plan.ts';
import type { JobOptions } from '../core/progress.ts';
import { type PlanWithTensors, refitter } from '../plan/index.ts';
import { createOpenGraph } from '../runtime/index.ts';
import { calibrationInput } from './calibrate.ts';
import { checkJsonOutput, writeJsonOutput } from './folder/output.ts';
import { type OpenedCheckpoint, openPieces, SOURCE, type SourceOptions } from './folder/source.ts';
import { count, flag } from './options.ts';
import { openPlan, type PlanResult } from './plan.ts';
import { checkSameModel } from './sparsify.ts';
import { fewTokens, STATISTICS } from './texts/texts.ts';

export const refitOptions = optionsOf(
  {
    /** The one that the plan was made for. */
    checkpoint: path,
    plan: path,
    /** JSON file to make; its tensors go beside it. */
    output: path,
  },
  {
    ...SOURCE,
    /** Texts, UTF-8 or JSONL; the pinned `fit` text by default. */
    data: files,
    /** Tokens of them to fit to at most. */
    tokens: count,
    sequenceLength: count,
    force: flag,
  },
);

export interface RefitOptions extends SourceOptions, z.infer<typeof refitOptions> {}

/**
 * Fits the maps of a plan by the preset `replace` anew, block after block, to the tokens that arrive when earlier blocks are
 * replaced. As many tokens skip each block as before.
 *
 * @throws LacunaError `unsupported` for a plan in which nothing is fitted, `mismatch` for a plan of another model.
 * @example await refit({ checkpoint: './SmolLM2-135M', plan: './plan.json', output: './refitted.json' });
 */
export const refit = door('refit', refitOptions, async (options: RefitOptions): Promise<PlanResult> => {
  await checkJsonOutput(options);
  const { plan, tensors } = await openPlan(options.plan);
  if (!leavesOut(plan))
    throw new LacunaError('unsupported', 'The plan leaves nothing out, so it has nothing that is fitted', {
      hint: 'Give a plan of the preset replace.',
    });
  const opened = await openPieces(options.checkpoint, options);
  checkSameModel(opened.checkpoint, plan);
  const made = await refitOn(
    opened,
    { plan, tensors },
    await calibrationInput(opened.checkpoint, STATISTICS, options),
    options,
  );
  const { output } = options;
  return { output, plan: await writeJsonOutput(options, () => writePlan(made.plan, made.tensors, output)) };
});

/** The same for a plan in memory and texts that are already encoded. */
export async function refitOn(
  { pieces }: OpenedCheckpoint,
  { plan, tensors }: PlanWithTensors,
  input: CalibrationInput,
  { signal, progress, threads }: JobOptions,
): Promise<PlanWithTensors> {
  const fitting = refitter(plan, tensors);
  const openGraph = createOpenGraph({ encode: encodeModel, threads });
  const job = { openGraph, ...(signal && { signal }), ...(progress && { progress }) };
  const { tokens }: Refitted = await refitWalk(pieces, input, fitting.layers, fitting.standInFor, job);
  const made = fitting.refitted(tokens);
  return { ...made, plan: { ...made.plan, notes: [...(made.plan.notes ?? []), ...fewTokens(STATISTICS, tokens)] } };
}
