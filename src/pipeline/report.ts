/** `lacuna report`: one page of what a model folder or calibration has to show. */
import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import type * as z from 'zod';
import { writeFileAtomically } from '../../formats/files.ts';
import { readJsonObject } from '../../formats/json-file.ts';
import { STATISTICS_FORMAT } from '../../formats/statistics.ts';
import { LacunaError } from '../core/errors.ts';
import { MANIFEST_FORMAT } from '../core/manifest.ts';
import { door, files, listOf, optionsOf, path } from '../core/options.ts';
import type { JobOptions } from '../core/progress.ts';
import type { ReportData } from '../report/data.ts';
import { chooseEngine } from './engine/engine.ts';
import { MAX_JSON_BYTES } from './folder/model-folder.ts';
import { checkPageOutput } from './folder/output.ts';
import { flag, JOB, nativeFolder } from './options.ts';
import { readFolderData } from './report/folder.ts';
import { makePage } from './report/page.ts';
import { sampleOf } from './report/sample.ts';
import { statisticsFigures } from './report/statistics.ts';
import { pinnedTexts } from './texts/texts.ts';

export const reportOptions = optionsOf(
  {
    /** A model folder, or the JSON file of statistics. */
    path,
    /** The page, an .html file. */
    output: path,
  },
  {
    ...JOB,
    /** Folders of the same checkpoint, to compare the folder with. */
    beside: listOf(path),
    /** Runs the beginning of a text and shows what each token computed; `build` has done so. */
    sample: flag,
    /** With `sample`: UTF-8 files, of which the first is that text; the pinned `test` text by default. */
    data: files,
    force: flag,
    nativeFolder,
  },
);

export interface ReportOptions extends JobOptions, z.infer<typeof reportOptions> {}

export interface ReportResult {
  readonly output: string;
  readonly kind: ReportData['kind'];
  /** In one sentence. */
  readonly verdict: string;
  /** Sections that the page does not have, why, and the commands that change that. */
  readonly notShown: readonly {
    readonly section: string;
    readonly because: string;
    readonly commands: readonly string[];
  }[];
  readonly bytes: number;
}

/**
 * Writes one HTML file with everything that was measured of a folder, or by calibration: no script, nothing from a network.
 *
 * @throws LacunaError `exists` without `force`; `bad-file` for what is neither, or was made by another version.
 * @example await report({ path: './sparse', output: 'report.html' });
 */
export const report = door('report', reportOptions, async (options: ReportOptions): Promise<ReportResult> => {
  const { output } = options;
  await checkPageOutput(options);
  const data = await readData(options);
  const { html, ...said } = await makePage(data);
  await writeFileAtomically(output, html);
  return { output, kind: data.kind, ...said, bytes: Buffer.byteLength(html) };
});

async function readData(options: ReportOptions): Promise<ReportData> {
  const info = await stat(options.path).catch((cause: unknown) => {
    throw new LacunaError('not-found', `Nothing at ${options.path}`, { cause, hint: NEITHER });
  });
  if (info.isDirectory()) return readFolder(options.path, options);
  const { format } = (await readJsonObject(options.path, MAX_JSON_BYTES)).value;
  if (format === MANIFEST_FORMAT) return readFolder(dirname(options.path), options);
  if (format !== STATISTICS_FORMAT)
    throw new LacunaError('bad-file', `${options.path} is neither a model folder nor statistics`, { hint: NEITHER });
  for (const name of ['beside', 'sample', 'data'] as const)
    if (options[name])
      throw new LacunaError('usage', `${options.path} holds statistics: they have no --${name}`, {
        hint: 'Leave it out, or give a model folder.',
      });
  return {
    kind: 'statistics',
    name: basename(resolve(options.path)),
    statistics: await statisticsFigures(options.path),
  };
}

const NEITHER = 'Give a folder made by lacuna convert, sparsify or build, or the statistics.json of lacuna calibrate.';

async function readFolder(folder: string, options: ReportOptions): Promise<ReportData> {
  const { beside, sample = false, data } = options;
  if (data !== undefined && !sample)
    throw new LacunaError('usage', '--data names the text of a sample, but no sample is asked for', {
      hint: 'Add --sample to run that text, or leave --data out.',
    });
  const found = await readFolderData({ path: folder, beside });
  if (!sample) return found;
  const { native } = await chooseEngine(options);
  return { ...found, sample: await sampleOf(folder, data ?? pinnedTexts('test'), { ...options, native }) };
}
