/** Where a reference to verify against comes from: Transformers in some Python, or a file that it wrote before. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { EXPECTATIONS_NAME } from '../../../formats/checkpoint-kind.ts';
import { readExpectations } from '../../../formats/expectations.ts';
import { type Checkpoint, parametersOf } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Expectations } from '../../core/expectations.ts';
import { type Given, path } from '../../core/options.ts';
import { type JobOptions, SILENT } from '../../core/progress.ts';
import { exists } from '../folder/output.ts';
import type { SourceOptions } from '../folder/source.ts';
import { probeScript, pythonsFor, runScript } from '../peers/python.ts';
import type { VerifyPrompt } from './verify-prompts.ts';

export const REFERENCE = {
  /** A Python that has Transformers; looked for when absent. */
  python: path,
  /** A file that `writeExpectations` made, in place of Transformers. */
  expectations: path,
};

export interface ReferenceOptions extends Given<typeof REFERENCE> {}

/** What Transformers must compute from: a folder, or a GGUF file. */
export interface ReferenceSubject extends Pick<Checkpoint, 'path' | 'fingerprint'> {
  readonly adapter: string | undefined;
  /** Weights that the checkpoint holds. */
  readonly parameters: number;
}

export interface Transformers {
  readonly kind: 'transformers';
  readonly python: string;
  readonly subject: ReferenceSubject;
}

export type Reference = Transformers | { readonly kind: 'expectations'; readonly expectations: Expectations };

const SCRIPT = 'expectations.py';

/**
 * The reference for a checkpoint: the one that is named, else Transformers if a Python has it, else the expectations
 * beside the checkpoint. This is quick. Throws `not-found` with what to install, `mismatch` for expectations of another
 * checkpoint.
 */
export async function referenceFor(
  checkpoint: Checkpoint,
  { python, expectations, adapter }: ReferenceOptions & Pick<SourceOptions, 'adapter'>,
): Promise<Reference> {
  const subject = subjectOf(checkpoint, adapter);
  if (expectations !== undefined) return storedReference(expectations, subject);
  const found = await searchPythons(subject, python);
  if ('kind' in found) return found;
  const beside = expectationsPath(subject.path);
  if (python === undefined && (await exists(beside))) return storedReference(beside, subject);
  const tried = python === undefined ? [...found.tried, `there is no ${beside}`] : found.tried;
  throw new LacunaError('not-found', `There is nothing to compare with: ${tried.join('; ')}`, {
    hint: `${installHint(subject)} Or make the file where it is installed: lacuna verify expect ${subject.path}`,
  });
}

/** A Python with Transformers. Throws 'not-found' with what to install. */
export async function findTransformers(
  checkpoint: Checkpoint,
  { python, adapter }: Pick<ReferenceOptions, 'python'> & Pick<SourceOptions, 'adapter'>,
): Promise<Transformers> {
  const subject = subjectOf(checkpoint, adapter);
  const found = await searchPythons(subject, python);
  if ('kind' in found) return found;
  throw new LacunaError('not-found', `Transformers was not found: ${found.tried.join('; ')}`, {
    hint: installHint(subject),
  });
}

function subjectOf(checkpoint: Checkpoint, adapter: string | undefined): ReferenceSubject {
  const { path, fingerprint } = checkpoint;
  return { path, fingerprint, adapter, parameters: parametersOf(checkpoint) };
}

/** The first that has what it takes, or why each was not used, one phrase each. */
async function searchPythons(
  subject: ReferenceSubject,
  named: string | undefined,
): Promise<Transformers | { readonly tried: readonly string[] }> {
  const tried: string[] = [];
  for (const python of pythonsFor(named)) {
    const missing = await missingPackages(python, subject);
    if (missing?.length === 0) return { kind: 'transformers', python, subject };
    if (missing !== undefined) tried.push(`${python} lacks ${missing.join(', ')}`);
    else if (named !== undefined) tried.push(`${python} does not run`);
  }
  return { tried: tried.length === 0 ? ['there is no Python'] : tried };
}

/** Packages beyond torch and Transformers, and what they are for. */
function extraPackages(subject: ReferenceSubject): string[] {
  return [...(subject.adapter === undefined ? [] : ['peft']), ...(isGguf(subject.path) ? ['gguf'] : [])];
}

function installHint(subject: ReferenceSubject): string {
  const packages = ['torch', 'transformers', ...extraPackages(subject)].join(' ');
  return `pip install ${packages}; a Python that is not found by itself is named by --python PATH.`;
}

/** Where the expectations of the checkpoint at `path` (a folder or a file) are searched. */
export function expectationsPath(path: string): string {
  return isGguf(path) ? `${path}.${EXPECTATIONS_NAME}` : join(path, EXPECTATIONS_NAME);
}

async function storedReference(path: string, { fingerprint, path: checkpoint }: ReferenceSubject): Promise<Reference> {
  const expectations = await readExpectations(path);
  if (expectations.fingerprint !== fingerprint)
    throw new LacunaError('mismatch', `${path} was made from another checkpoint than ${checkpoint}`, {
      hint: `Make it anew: lacuna verify expect ${checkpoint} -o ${path} --force`,
    });
  return { kind: 'expectations', expectations };
}

/** Packages that `python` lacks for this subject; undefined if `python` does not run at all. */
async function missingPackages(python: string, subject: ReferenceSubject): Promise<string[] | undefined> {
  const versions = await probeScript(python, SCRIPT);
  if (versions === undefined) return undefined;
  const needed = ['torch', 'transformers', 'tokenizers', 'safetensors', ...extraPackages(subject)];
  return needed.filter((name) => !versions[name]);
}

function isGguf(path: string): boolean {
  return extname(path).toLowerCase() === '.gguf';
}

export interface Question {
  readonly prompts: readonly VerifyPrompt[];
  /** Positions of each prompt, and tokens decoded after it. */
  readonly rows: number;
  readonly steps: number;
}

/** The reference's results. `use` gets the prompts of the file, or those that Transformers was asked for. */
export async function askReference<T>(
  reference: Reference,
  question: Question,
  job: JobOptions,
  use: (expectations: Expectations) => Promise<T>,
): Promise<T> {
  if (reference.kind === 'expectations') return use(reference.expectations);
  return askTransformers(reference, question, job, async (path) => use(await readExpectations(path)));
}

/** Runs python/expectations.py. Its file exists while `use` works on it. */
export async function askTransformers<T>(
  { python, subject: { path, adapter, ...subject } }: Transformers,
  question: Question,
  { progress = SILENT, signal, threads }: JobOptions,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-verify-'));
  try {
    const output = join(folder, EXPECTATIONS_NAME);
    const request = join(folder, 'request.json');
    const source = {
      folder: resolve(isGguf(path) ? dirname(path) : path),
      gguf: isGguf(path) ? basename(path) : null,
      adapter: adapter === undefined ? null : resolve(adapter),
    };
    await writeFile(request, JSON.stringify({ ...source, ...subject, ...question, output, threads: threads ?? null }));
    const stage = progress.stage('Asking Transformers', question.prompts.length * (1 + question.steps), 'calls');
    await runScript(python, [SCRIPT, request], {
      signal,
      onOutput: (text) => stage.advance([...text.matchAll(/^called$/gm)].length),
      failure: 'Transformers could not compute the reference',
    });
    stage.done();
    return await use(output);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
