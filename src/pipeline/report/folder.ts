/** What a page shows of a model folder: its manifest, and the figures that lie beside it. */
import { basename, join, resolve } from 'node:path';
import type * as z from 'zod';
import { readJson } from '../../../formats/tensors-beside.ts';
import { LacunaError } from '../../core/errors.ts';
import type { BesideData, FolderData } from '../../report/data.ts';
import { benchSchema, evaluationSchema, sampleSchema, searchSchema } from '../../report/figures.ts';
import { PROOF_FOLDER } from '../build/keys.ts';
import { readManifest } from '../folder/model-folder.ts';
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
  const statistics = join(path, PROOF_FOLDER, 'statistics.json');
  return {
    kind: 'folder',
    ...own,
    name: name ?? own.name,
    search: await figuresAt(path, 'auto.json', searchSchema, 'record of a search'),
    sample: await figuresAt(path, 'sample.json', sampleSchema, 'sample of a text'),
    statistics: (await exists(statistics)) ? await statisticsFigures(statistics) : null,
    beside: others,
  };
}

async function readMeasured(path: string): Promise<BesideData> {
  return {
    name: basename(resolve(path)),
    manifest: await readManifest(path),
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

/** A file of figures; null where it was never written. */
async function figuresAt<T>(path: string, file: string, schema: z.ZodType<T>, what: string): Promise<T | null> {
  const place = join(path, PROOF_FOLDER, file);
  return (await exists(place)) ? readJson(place, schema, what) : null;
}
