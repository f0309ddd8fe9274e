/** What a page shows of a model folder: its manifest, and the figures that lie beside it. */
import { basename, join, resolve } from 'node:path';
import type * as z from 'zod';
import { readJson } from '../../../formats/tensors-beside.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Manifest } from '../../core/manifest.ts';
import { layerOfBlock } from '../../core/plan.ts';
import type { BesideData, FolderData, StatisticsFigures } from '../../report/data.ts';
import { benchSchema, evaluationSchema, sampleSchema, searchSchema } from '../../report/figures.ts';
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
    search: await readSearch(path),
    sample: await figuresAt(path, 'sample.json', sampleSchema, 'sample of a text'),
    statistics: await ownStatistics(path, own),
    beside: others,
  };
}

/** What was measured of a folder, in one sentence; null where nothing was. Throws `bad-file` for damaged figures. */
export async function folderVerdict(path: string): Promise<string | null> {
  const own = await readMeasured(path);
  if (own.evaluation === null && own.bench === null) return null;
  const search = await readSearch(path);
  return verdictOf({ kind: 'folder', ...own, search, sample: null, statistics: null, beside: [] }).sentence;
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
  const manifest = await readManifest(path);
  checkLayers(manifest, path);
  return {
    name: basename(resolve(path)),
    manifest,
    evaluation: await figuresAt(path, 'evaluation.json', evaluationSchema, 'evaluation'),
    bench: await figuresAt(path, 'bench.json', benchSchema, 'benchmark'),
  };
}

async function readBeside(path: string, own: BesideData, ownPath: string): Promise<BesideData> {
  const other = await readMeasured(path);
  if (other.manifest.fingerprint === own.manifest.fingerprint) return other;
  throw new LacunaError('mismatch', `${path} was made from another checkpoint than ${ownPath}`, {
    hint: 'Give folders of the same checkpoint with --beside.',
  });
}

function readSearch(path: string): Promise<FolderData['search']> {
  return figuresAt(path, 'auto.json', searchSchema, 'record of a search');
}

/** A file of figures; null where it was never written. */
async function figuresAt<T>(path: string, file: string, schema: z.ZodType<T>, what: string): Promise<T | null> {
  const place = join(path, PROOF_FOLDER, file);
  return (await exists(place)) ? readJson(place, schema, what) : null;
}
