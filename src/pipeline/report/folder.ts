/** What a page shows of a model folder: its manifest, and the figures that lie beside it. */
import { basename, join, resolve } from 'node:path';
import type * as z from 'zod';
import { readJson } from '../../../formats/tensors-beside.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Manifest } from '../../core/manifest.ts';
import { layerOfBlock } from '../../core/plan.ts';
import { EVALUATE, TIME } from '../../report/commands.ts';
import type { BesideData, FolderData, StatisticsFigures } from '../../report/data.ts';
import {
  type Bench,
  benchSchema,
  type Evaluation,
  evaluationSchema,
  type Sample,
  type Search,
  sampleSchema,
  searchSchema,
} from '../../report/figures.ts';
import { verdictOf } from '../../report/verdict.ts';
import { PROOF_FOLDER } from '../build/keys.ts';
import { MANIFEST_FILE, readManifest } from '../folder/model-folder.ts';
import { exists } from '../folder/output.ts';
import { statisticsFigures } from './statistics.ts';

interface Place {
  readonly path: string;
  /** What the page calls it; the folder's own name by default. */
  readonly name?: string;
  /** Other folders of the same checkpoint, to compare it with. */
  readonly beside?: readonly string[] | undefined;
}

/**
 * Reads a folder of any command, and the figures that were measured of it.
 *
 * @throws LacunaError `not-found` for a folder that is none of ours, `bad-file` for one of another version or with damaged
 * figures, `mismatch` for a folder beside it that was made from another checkpoint.
 */
export async function readFolderData({ path, name, beside = [] }: Place): Promise<FolderData> {
  const own = await readMeasured(path);
  const others: BesideData[] = [];
  for (const other of beside) others.push(await readBeside(other, own, path));
  return {
    kind: 'folder',
    ...own,
    name: name ?? own.name,
    search: await figuresAt(path, SEARCH),
    sample: await figuresAt(path, SAMPLE),
    statistics: await ownStatistics(path, own),
    beside: others,
  };
}

/**
 * What was measured of a folder, in one sentence; null where nothing was. Figures that cannot be read leave the folder as it is, so
 * the sentence says that of them.
 */
export async function folderVerdict(path: string): Promise<string | null> {
  const own = await readOwn(path);
  try {
    const measured = await readFigures(path);
    if (measured.evaluation === null && measured.bench === null) return null;
    const search = await figuresAt(path, SEARCH);
    const rest = { search, sample: null, statistics: null, beside: [] };
    return verdictOf({ kind: 'folder', ...own, ...measured, ...rest }).sentence;
  } catch (error) {
    if (!(error instanceof LacunaError) || error.code !== 'bad-file') throw error;
    // A list of fields may follow, which `report` gives.
    const [what] = error.message.split(/:?\n/);
    return `Figures cannot be read: ${what}. ${error.hint}`;
  }
}

/** Statistics that the folder was planned by; null where there are none. */
async function ownStatistics(path: string, { manifest }: BesideData): Promise<StatisticsFigures | null> {
  const place = join(path, PROOF_FOLDER, 'statistics.json');
  if (!(await exists(place))) return null;
  const found = await statisticsFigures(place);
  const { fingerprint, numHiddenLayers } = found.model;
  if (fingerprint === manifest.fingerprint && numHiddenLayers === manifest.spec.numHiddenLayers) return found;
  throw new LacunaError('mismatch', `${place} was measured on another model than ${path} was made from`, {
    hint: 'Remove it, or put the statistics of this model there.',
  });
}

/** Throws `bad-file` for a plan of layers that the model does not have. */
function checkLayers({ plan, spec }: Manifest, path: string): void {
  const past = plan?.blocks.find(({ block }) => layerOfBlock(block) >= spec.numHiddenLayers);
  if (past === undefined) return;
  const place = join(path, MANIFEST_FILE);
  throw new LacunaError(
    'bad-file',
    `${place}: block ${past.block} is past the model's ${spec.numHiddenLayers} layers`,
    {
      hint: 'Make the folder again with this version of Lacuna.',
    },
  );
}

async function readMeasured(path: string): Promise<BesideData> {
  return { ...(await readOwn(path)), ...(await readFigures(path)) };
}

async function readOwn(path: string): Promise<Pick<BesideData, 'name' | 'manifest'>> {
  const manifest = await readManifest(path);
  checkLayers(manifest, path);
  return { name: basename(resolve(path)), manifest };
}

async function readFigures(path: string): Promise<Pick<BesideData, 'evaluation' | 'bench'>> {
  return { evaluation: await figuresAt(path, EVALUATION), bench: await figuresAt(path, BENCH) };
}

async function readBeside(path: string, own: BesideData, ownPath: string): Promise<BesideData> {
  const other = await readMeasured(path);
  if (other.manifest.fingerprint === own.manifest.fingerprint) return other;
  throw new LacunaError('mismatch', `${path} was made from another checkpoint than ${ownPath}`, {
    hint: 'Give folders of the same checkpoint with --beside.',
  });
}

/** A file that a command writes, also as what a shell redirects to it: a command that fails leaves an empty one. */
interface Figures<T> {
  readonly file: string;
  readonly schema: z.ZodType<T>;
  readonly what: string;
  /** What to do about one that cannot be read. */
  readonly again: string;
}

const EVALUATION: Figures<Evaluation> = {
  file: 'evaluation.json',
  schema: evaluationSchema,
  what: 'evaluation',
  again: `Measure again: ${EVALUATE[1]}`,
};

const BENCH: Figures<Bench> = {
  file: 'bench.json',
  schema: benchSchema,
  what: 'benchmark',
  again: `Measure again: ${TIME[1]}`,
};

const SEARCH: Figures<Search> = {
  file: 'auto.json',
  schema: searchSchema,
  what: 'record of a search',
  again: 'Build the folder again, or remove the file.',
};

const SAMPLE: Figures<Sample> = {
  file: 'sample.json',
  schema: sampleSchema,
  what: 'sample of a text',
  again: 'Remove the file; --sample runs the text again.',
};

/** null where it was never written. */
async function figuresAt<T>(path: string, { file, schema, what, again }: Figures<T>): Promise<T | null> {
  const place = join(path, PROOF_FOLDER, file);
  if (!(await exists(place))) return null;
  return readJson(place, schema, what).catch((cause: unknown) => {
    if (!(cause instanceof LacunaError) || cause.code !== 'bad-file') throw cause;
    throw new LacunaError('bad-file', cause.message, { cause, hint: again });
  });
}
