/**
 * The functions of the public door. Each checks its arguments against a schema, once and before anything is done. It
 * rejects with `LacunaError` `usage` if a field is unknown, missing, of another type or out of range. Functions of the
 * pipeline call each other without these checks, because their arguments have been checked.
 */
import type * as z from 'zod';
import { checkArgument } from '../core/options.ts';
import * as commands from './commands.ts';
import type { DoctorOptions, DoctorResult } from './doctor.ts';
import type { Inspection, InspectOptions } from './inspect.ts';
import type { Model, OpenOptions } from './open.ts';
import type { OpsPathOptions } from './ops.ts';
import * as schemas from './options.ts';

function door<Options, Result>(
  of: string,
  schema: z.ZodType<NoInfer<Options>>,
  work: (options: Options) => Promise<Result>,
): (options: Options) => Promise<Result> {
  return async (given) => work(checkArgument(schema, given, { of }));
}

/**
 * Converts a checkpoint (a Hugging Face folder or a GGUF file) to a dense ONNX folder.
 *
 * @example await convert({ checkpoint: './SmolLM2-135M', output: './dense', dtype: 'int4' });
 */
export const convert = door('convert', schemas.convertOptions, commands.convert);

/**
 * Checks everything that `convert` with the same options would need, and writes nothing.
 *
 * @example const { problems } = await dryRun({ checkpoint: './SmolLM2-135M', output: './dense' });
 */
export const dryRun = door('dryRun', schemas.convertOptions, commands.dryRun);

/**
 * Measures FFN saturation, gate statistics and neuron magnitudes of a checkpoint, layer by layer.
 *
 * @example await calibrate({ checkpoint: './SmolLM2-135M', output: './statistics.json' });
 */
export const calibrate = door('calibrate', schemas.calibrateOptions, commands.calibrate);

/** Adds up the statistics of shards. The order does not matter. */
export const mergeCalibrations = door('mergeCalibrations', schemas.mergeOptions, commands.mergeCalibrations);

/**
 * Chooses what to leave out, from statistics alone.
 *
 * @example
 * const preset = { preset: 'top-k', density: 0.3 } as const;
 * await plan({ statistics: './statistics.json', output: './plan.json', preset });
 */
export const plan = door('plan', schemas.planOptions, commands.plan);

/**
 * Rewrites a model by a plan and writes a folder that stands alone.
 *
 * @example await sparsify({ source: './SmolLM2-135M', plan: './plan.json', output: './sparse' });
 */
export const sparsify = door('sparsify', schemas.sparsifyOptions, commands.sparsify);

/**
 * Converts, calibrates, plans, corrects, rewrites, times and evaluates. A stopped build continues.
 *
 * @throws LacunaError `check-failed` when the result is over its budget, or slower than the dense model: nothing is
 * shipped.
 * @example
 * const preset = { preset: 'top-k', density: 0.5 } as const;
 * await build({ checkpoint: './SmolLM2-135M', output: './sparse', preset, maxPplRatio: 1.05 });
 */
export const build = door('build', schemas.buildOptions, commands.build);

/**
 * Says what `build` with the same options would do and whether it can pay. It measures and writes nothing.
 *
 * @example const { stages } = await dryRunBuild({ checkpoint: './SmolLM2-135M', output: './sparse', preset });
 */
export const dryRunBuild = door('dryRunBuild', schemas.buildOptions, commands.dryRunBuild);

/**
 * Measures a folder's perplexity, and against its dense baseline what leaving something out costs. A failed check is a
 * result, not an error.
 *
 * @example const { modes } = await evaluate({ folder: './sparse', against: './dense' });
 */
export const evaluate = door('evaluate', schemas.evaluateOptions, commands.evaluate);

/**
 * Times decoding, interleaved with a baseline in one process.
 *
 * @example const { speedup } = await bench({ folder: './sparse', against: './dense' });
 */
export const bench = door('bench', schemas.benchOptions, commands.bench);

/**
 * Generates one text with a folder. It opens the folder for this text and closes it again; `open` keeps it open.
 *
 * @example const { text } = await run({ folder: './sparse', prompt: 'The capital of France is' });
 */
export const run = door('run', schemas.runOptions, commands.run);

/** Continues several prompts. The native core continues them together and reads the weights once for all of them. */
export const runRows = door('runRows', schemas.runRowsOptions, commands.runRows);

/**
 * Compares the logits of a dense folder with those of Transformers on its checkpoint. A difference over the limit is a
 * result, not an error.
 *
 * @example const { checks } = await verify({ folder: './dense', checkpoint: './SmolLM2-135M' });
 */
export const verify = door('verify', schemas.verifyOptions, commands.verify);

/** Writes what Transformers computes from a checkpoint into a file, for machines without Transformers. */
export const writeExpectations = door('writeExpectations', schemas.expectOptions, commands.writeExpectations);

/** Puts the library of native operators into a folder, where onnxruntime-genai loads it. `undo` takes it out again. */
export const installOps = door('installOps', schemas.opsInstallOptions, commands.installOps);

/** The path of the library of native operators, for `register_custom_ops_library`. */
export async function opsPath(options: OpsPathOptions = {}): Promise<string> {
  return commands.opsPath(checkArgument(schemas.opsPathOptions, options, { of: 'opsPath' }));
}

/** Which runtime is installed, whether it works, and whether kernels are active. */
export async function doctor(options: DoctorOptions = {}): Promise<DoctorResult> {
  return commands.doctor(checkArgument(schemas.doctorOptions, options, { of: 'doctor' }));
}

/**
 * What a path holds: a checkpoint, an adapter, a model folder, an .onnx file, statistics or a plan. No weight is read.
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const given = checkArgument(schemas.path, path, { of: 'inspect', name: 'path' });
  return commands.inspect(given, checkArgument(schemas.inspectOptions, options, { of: 'inspect' }));
}

/**
 * Opens a folder made by `convert`, `sparsify` or `build`, to write texts with it.
 *
 * @example
 * const model = await open('./sparse');
 * const { text } = await model.generate('The capital of France is', { maxTokens: 16 });
 * for await (const piece of model.stream('Once upon a time')) console.log(piece);
 * await model.close();
 */
export async function open(folder: string, options: OpenOptions = {}): Promise<Model> {
  const given = checkArgument(schemas.path, folder, { of: 'open', name: 'folder' });
  return commands.open(given, checkArgument(schemas.openOptions, options, { of: 'open' }));
}
