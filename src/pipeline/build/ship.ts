/** The end of a build: figures go into the sparse folder and its model card, and the folder goes to its place. */
import { createReadStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { putInPlace, writeFileAtomically } from '../../../formats/files.ts';
import { writeJson } from '../../../formats/tensors-beside.ts';
import { percent, signedPercent } from '../../core/figures.ts';
import { engineText } from '../../core/host-kind.ts';
import { type Comparison, DEFINITIONS, type Ratio } from '../../eval/index.ts';
import type { BenchReport } from '../bench.ts';
import type { EvaluateResult } from '../evaluate.ts';
import { addToCard } from '../folder/model-folder.ts';
import { exists, replaceExtension } from '../folder/output.ts';
import { readFolderData } from '../report/folder.ts';
import { makePage } from '../report/page.ts';
import { sampleOf } from '../report/sample.ts';
import { DEFAULT_TOKENS } from '../texts/windows.ts';
import { BUILD_FILE, outputsOf, PROOF_FOLDER } from './keys.ts';
import { type Build, measuringOptions } from './options.ts';
import { times } from './verdict.ts';

/** Puts the measurements into the sparse folder and the folder into its place. */
export async function ship(build: Build, evaluation: EvaluateResult, timing: BenchReport): Promise<void> {
  const { keys, options } = build;
  const { statistics, plan, bench, sparse } = outputsOf(build);
  const { output, preset, maxPplRatio, allowSlower = false, tokens = DEFAULT_TOKENS, threads = null, force } = options;
  await putWithProof(sparse, output, {
    files: [statistics, plan, bench],
    results: {
      'evaluation.json': evaluation,
      'sample.json': await sampleOf(sparse, options.texts.test, await measuringOptions('report', build)),
      [BUILD_FILE]: { key: keys.build, preset, tokens, threads, maxPplRatio, allowSlower },
    },
    section: measuredText(build, evaluation, timing),
    force,
  });
}

interface Proof {
  /** JSON files, whose tensors are copied with them. */
  readonly files: readonly string[];
  /** Further ones by name. */
  readonly results: Readonly<Record<string, object>>;
  /** Of the model card. */
  readonly section: string;
  readonly force: boolean | undefined;
}

/** The page of everything in that folder. */
const REPORT_FILE = 'report.html';

/** Puts a finished model folder in its place, with what was measured of it, and the page that shows it. */
export async function putWithProof(model: string, output: string, given: Proof): Promise<void> {
  const { files, results, section, force = false } = given;
  const proof = join(model, PROOF_FOLDER);
  await rm(proof, { recursive: true, force: true });
  await mkdir(proof);
  for (const path of files) await copyWithTensors(path, proof);
  for (const [name, result] of Object.entries(results)) await writeJson(join(proof, name), result);
  await addToCard(model, `${section}\nAll of this on one page, with charts: \`${PROOF_FOLDER}/${REPORT_FILE}\`.\n`);
  const page = await makePage(await readFolderData({ path: model, name: basename(resolve(output)) }));
  await writeFileAtomically(join(proof, REPORT_FILE), page.html);
  await putInPlace(model, output, { force });
}

/** A JSON file names its tensors' file: the two go together under their own names. */
async function copyWithTensors(path: string, folder: string): Promise<void> {
  for (const file of [path, replaceExtension(path, '.safetensors')])
    if (await exists(file)) await writeFileAtomically(join(folder, basename(file)), createReadStream(file));
}

/** The section of the model card. */
function measuredText(build: Build, { modes, texts }: EvaluateResult, timing: BenchReport): string {
  const { precision } = build;
  const { speedup, subjects } = timing;
  const read = texts.map(({ name }) => name).join(', ');
  const rows = modes.map(
    (mode) =>
      `| ${[mode.mode, mode.scoredTokens, ...ratiosOf(mode), mode.meanKl.toFixed(4), percent(mode.top1Agreement)].join(' | ')} |`,
  );
  const speeds = subjects.map(({ name, decodeTokensPerSecond: { median } }) => `${name} ${median.toFixed(1)} tokens/s`);
  const gain = speedup === null ? '' : `${times(speedup)} the speed of the dense ${precision.name} model`;
  return `## Measured

Perplexity ratios are to the checkpoint's floats (fp32), on ${read}, measured in
${engineText(build.engine)}; ± is the standard error, in parentheses what the ratio is
below with a confidence of 95 %.

| mode | tokens | ratio | of it by rounding to ${precision.name} | by leaving out | KL | same top-1 |
| ---- | -----: | ----- | ----- | ----- | -----: | -----: |
${rows.join('\n')}

- ${definition('all')}
- ${definition('decode')}
- KL and top-1: against the same weights with nothing left out.

Decoding, by ${engineText(build.engine)}: ${gain} (${speeds.join(', ')}); median and 80 % of the rounds, on the machine that built it.${expectedText(timing)}
`;
}

export function expectedText({ subjects, expectedSpeedup }: BenchReport): string {
  const { expectedTokensPerSecond: rate = null, expectedError: error = null } = subjects.at(-1) ?? {};
  if (rate === null || error === null || expectedSpeedup === null) return '';
  return `\nExpected before it was measured: ${expectedSpeedup.toFixed(2)} times, ${rate.toFixed(1)} tokens/s, a step's time ${signedPercent(error)} off.`;
}

function ratiosOf({ perplexityRatio, rounded }: Comparison): string[] {
  return [perplexityRatio, rounded?.rounding, rounded?.leavingOut ?? perplexityRatio].map((ratio) =>
    ratio === undefined ? '1' : ratioText(ratio),
  );
}

export function ratioText({ value, standardError, upperBound }: Ratio): string {
  if (standardError === null || upperBound === null) return value.toFixed(4);
  return `${value.toFixed(4)} ± ${standardError.toFixed(4)} (${upperBound.toFixed(4)})`;
}

export function definition(mode: 'all' | 'decode'): string {
  return DEFINITIONS[mode].replace(/^mode "(\w+)"/, '$1');
}
