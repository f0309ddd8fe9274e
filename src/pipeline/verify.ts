/** `lacuna verify`: compares a converted folder with what Transformers computes from its checkpoint. */
import { createReadStream } from 'node:fs';
import { basename, join } from 'node:path';
import type * as z from 'zod';
import { readExpectations } from '../../formats/expectations.ts';
import { writeFileAtomically } from '../../formats/files.ts';
import { writeJson } from '../../formats/tensors-beside.ts';
import { loadTokenizer, type Tokenizer } from '../../formats/tokenizer/index.ts';
import { hasTokenizer } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import type { Expectations } from '../core/expectations.ts';
import { door, optionsOf, path } from '../core/options.ts';
import { leavesOut } from '../core/plan.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Verification } from '../core/verification.ts';
import { addRows, failed, type Judgement, judge, limitsOf, NO_ROWS, type Tallies, tallyPrompt } from '../eval/index.ts';
import { openSession } from '../runtime/index.ts';
import { readFloats } from '../tensors/index.ts';
import { MANIFEST_FILE, readManifest } from './folder/model-folder.ts';
import { exists } from './folder/output.ts';
import {
  denseGraph,
  localPath,
  type OpenedCheckpoint,
  openPieces,
  SOURCE,
  type SourceOptions,
} from './folder/source.ts';
import { flag } from './options.ts';
import {
  askReference,
  askTransformers,
  expectationsPath,
  findTransformers,
  type Question,
  REFERENCE,
  type Reference,
  type ReferenceOptions,
  referenceFor,
} from './verification/reference.ts';
import { COMPARED_ROWS, decodedTokens, verifyPrompts } from './verification/verify-prompts.ts';

export const verifyOptions = optionsOf(
  {
    /** A dense folder made by `convert`. */
    folder: path,
    /** What it was made from. */
    checkpoint: path,
  },
  { ...SOURCE, ...REFERENCE },
);

export interface VerifyOptions extends SourceOptions, ReferenceOptions, z.infer<typeof verifyOptions> {}

export interface VerifyResult {
  readonly folder: string;
  readonly checks: readonly Verification[];
}

/**
 * Compares the logits of a dense folder with those of Transformers on its checkpoint, and writes the result into the
 * folder's `lacuna.json`. A difference over the limit is a result, not an error: `passed` of a check is false.
 *
 * @throws LacunaError `not-found` when there is neither a Python with Transformers nor an expectations file, `mismatch`
 * when the folder was made from another checkpoint.
 * @example const { checks } = await verify({ folder: './dense', checkpoint: './SmolLM2-135M' });
 */
export const verify = door('verify', verifyOptions, async (options: VerifyOptions): Promise<VerifyResult> => {
  const opened = await openPieces(options.checkpoint, options);
  const reference = await referenceFor(opened.checkpoint, options);
  return verifyFolder(options.folder, opened, reference, options);
});

/** The same for an open checkpoint and a reference that was found. */
export async function verifyFolder(
  folder: string,
  opened: OpenedCheckpoint,
  reference: Reference,
  options: JobOptions,
): Promise<VerifyResult> {
  const manifest = await readManifest(folder);
  if (leavesOut(manifest.plan))
    throw new LacunaError('unsupported', `${folder} is sparse: it does not compute what its checkpoint does`, {
      hint: 'lacuna eval DIR --against DENSE measures what was lost; verify the dense folder.',
    });
  if (manifest.fingerprint !== opened.checkpoint.fingerprint)
    throw new LacunaError('mismatch', `${folder} was made from another checkpoint than ${opened.checkpoint.path}`, {
      hint: 'Give the checkpoint it was made from, with the --adapter that was merged, if there was one.',
    });
  const tokenizer = hasTokenizer(opened.checkpoint) ? await loadTokenizer(opened.checkpoint) : undefined;
  // Storing the matrices as bfloat16 then loses nothing.
  const isBfloat16 = [...opened.checkpoint.tensors.values()].every(
    ({ shape, dtype }) => shape.length !== 2 || dtype === 'bfloat16',
  );
  const checks = await askReference(reference, questionOf(opened, tokenizer), options, async (expectations) => {
    const { tools } = expectations;
    const sameTokenIds = sameIds(expectations, tokenizer);
    const found: Verification[] = [];
    for (const { file, precision } of manifest.models) {
      const limits = limitsOf(precision, isBfloat16);
      const judged = await judgeModel(join(folder, file), expectations, limits, options);
      const failures = [...judged.failures, ...(sameTokenIds === false ? [OTHER_IDS] : [])];
      const made = { precision, reference: reference.kind, tools, sameTokenIds };
      found.push({ ...made, ...judged, passed: failures.length === 0, failures });
    }
    return found;
  });
  await writeJson(join(folder, MANIFEST_FILE), { ...manifest, checks });
  return { folder, checks };
}

const OTHER_IDS = "The tokenizer gives the prompts other ids than the reference's tokenizer.";

function questionOf({ pieces }: OpenedCheckpoint, tokenizer: Tokenizer | undefined): Question {
  const { spec } = pieces;
  const prompts = verifyPrompts(tokenizer, spec, windowOf(pieces));
  return { prompts, rows: COMPARED_ROWS, steps: decodedTokens(spec) };
}

/** The longest window of attention of any layer; undefined if all layers attend to all tokens. */
function windowOf(pieces: OpenedCheckpoint['pieces']): number | undefined {
  const windows = denseGraph(pieces).nodes.flatMap(({ attributes: { local_window_size: size } }) =>
    size?.kind === 'int' && size.value > 0 ? [size.value] : [],
  );
  return windows.length === 0 ? undefined : Math.max(...windows);
}

/** NaN and infinity are a verdict too: other precisions of the folder may be right. */
async function judgeModel(
  path: string,
  { prompts }: Expectations,
  limits: Verification['limits'],
  job: JobOptions,
): Promise<Judgement> {
  const { progress = SILENT, signal } = job;
  const stage = progress.stage(`Comparing ${basename(path)}`, prompts.length, 'prompts');
  const session = await openSession(path, job);
  try {
    let tallies: Tallies = { prefill: NO_ROWS, decode: NO_ROWS };
    for (const prompt of prompts) {
      const logits = {
        prefill: await readFloats(prompt.prefillLogits),
        decode: await readFloats(prompt.decodeLogits),
      };
      const { prefill, decode } = await tallyPrompt(session, { ...prompt, ...logits }, signal);
      tallies = { prefill: addRows(tallies.prefill, prefill), decode: addRows(tallies.decode, decode) };
      stage.advance(1);
    }
    stage.done();
    return judge(tallies, limits);
  } catch (error) {
    if (error instanceof LacunaError && error.code === 'non-finite') return failed(`${error.message}.`, limits);
    throw error;
  } finally {
    await session.close();
  }
}

/** Whether our tokenizer gives the reference's ids for its texts; null if one of the two has no tokenizer. */
function sameIds({ prompts }: Expectations, tokenizer: Tokenizer | undefined): boolean | null {
  const asked = prompts.flatMap(({ text, encoded }) => (text === null || encoded === null ? [] : [{ text, encoded }]));
  if (tokenizer === undefined || asked.length === 0) return null;
  return asked.every(({ text, encoded }) => String(tokenizer.encode(text)) === String(encoded));
}

export const expectOptions = optionsOf(
  { checkpoint: path },
  {
    ...SOURCE,
    python: REFERENCE.python,
    /** By default beside the checkpoint, where `verify` looks for it. */
    output: path,
    force: flag,
  },
);

export interface ExpectOptions extends SourceOptions, z.infer<typeof expectOptions> {}

export interface ExpectResult {
  readonly output: string;
  readonly tools: Readonly<Record<string, string>>;
}

/**
 * Writes what Transformers computes from a checkpoint into a file, for machines without Transformers. Throws `exists`
 * for a file that exists, without `force`, and `not-found` without a suitable Python.
 */
export const writeExpectations = door(
  'writeExpectations',
  expectOptions,
  async (given: ExpectOptions): Promise<ExpectResult> => {
    const checkpoint = await localPath(given.checkpoint, given);
    const output = given.output ?? expectationsPath(checkpoint);
    if (!given.force && (await exists(output)))
      throw new LacunaError('exists', `${output} already exists`, { hint: 'Replace it with --force.' });
    const opened = await openPieces(checkpoint, given);
    const transformers = await findTransformers(opened.checkpoint, given);
    const tokenizer = hasTokenizer(opened.checkpoint) ? await loadTokenizer(opened.checkpoint) : undefined;
    return askTransformers(transformers, questionOf(opened, tokenizer), given, async (made) => {
      await writeFileAtomically(output, createReadStream(made));
      return { output, tools: (await readExpectations(output)).tools };
    });
  },
);
