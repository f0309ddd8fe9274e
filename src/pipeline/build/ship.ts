/** The end of a build: figures go into the sparse folder, and the folder goes to its place. */
import { createReadStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { putInPlace, writeFileAtomically } from '../../../formats/files.ts';
import { writeJson } from '../../../formats/tensors-beside.ts';
import type { Plan } from '../../core/plan.ts';
import type { BenchReport } from '../bench.ts';
import type { EvaluateResult } from '../evaluate.ts';
import { addToCard } from '../folder/model-folder.ts';
import { exists, replaceExtension } from '../folder/output.ts';
import { DEFAULT_TOKENS } from '../texts/windows.ts';
import { BUILD_FILE, PROOF_FOLDER } from './keys.ts';
import { measuredText } from './measured-text.ts';
import type { Build } from './options.ts';
import type { Stage } from './workspace.ts';

export interface Finished {
  readonly statistics: string;
  readonly plan: Stage<Plan>;
  readonly sparse: string;
  readonly evaluation: EvaluateResult;
  readonly timing: Stage<BenchReport>;
}

/** Puts the measurements into the sparse folder and the folder into its place. */
export async function ship(build: Build, finished: Finished): Promise<void> {
  const { statistics, plan, sparse, evaluation, timing } = finished;
  const { keys, options } = build;
  const { output, preset, maxPplRatio, allowSlower = false, tokens = DEFAULT_TOKENS, threads = null } = options;
  const proof = join(sparse, PROOF_FOLDER);
  await rm(proof, { recursive: true, force: true });
  await mkdir(proof);
  for (const path of [statistics, plan.path, timing.path]) await copyWithTensors(path, proof);
  await writeJson(join(proof, 'evaluation.json'), evaluation);
  await writeJson(join(proof, BUILD_FILE), { key: keys.build, preset, tokens, threads, maxPplRatio, allowSlower });
  await addToCard(sparse, measuredText(build, evaluation, timing.result));
  await putInPlace(sparse, output, { force: options.force ?? false });
}

/** A JSON file names its tensors' file: the two go together under their own names. */
async function copyWithTensors(path: string, folder: string): Promise<void> {
  for (const file of [path, replaceExtension(path, '.safetensors')])
    if (await exists(file)) await writeFileAtomically(join(folder, basename(file)), createReadStream(file));
}
