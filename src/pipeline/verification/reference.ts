/** Where a reference to verify against comes from: Transformers in some Python, or a file that it wrote before. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { EXPECTATIONS_NAME } from '../../../formats/checkpoint-kind.ts';
import { readExpectations } from '../../../formats/expectations.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Expectations } from '../../core/expectations.ts';
import { type Given, path } from '../../core/options.ts';
import { type JobOptions, SILENT } from '../../core/progress.ts';
import { exists } from '../folder/output.ts';
import { PYTHONS, probeScript, runPython, scriptPath } from '../peers/python.ts';
import type { VerifyPrompt } from './verify-prompts.ts';

export const REFERENCE = {
  /** A Python that has Transformers; looked for when absent. */
  python: path,
  /** A file that `writeExpectations` made, in place of Transformers. */
  expectations: path,
};

export interface ReferenceOptions extends Given<typeof REFERENCE> {}

/** What Transformers must compute, and from what. */
export interface ReferenceSubject {
  /** A folder, or a GGUF file. */
  readonly path: string;
  readonly adapter: string | undefined;
  readonly fingerprint: string;
  /** Weights that the checkpoint holds. */
  readonly parameters: number;
}

export type Reference =
  | { readonly kind: 'transformers'; readonly python: string }
  | { readonly kind: 'expectations'; readonly path: string; readonly expectations: Expectations };

const SCRIPT = 'expectations.py';

/**
 * The reference for a checkpoint: the one that is named, else Transformers if a Python has it, else the expectations
 * beside the checkpoint. Finding it is quick, so it can be done before hours of work.
 *
 * @throws LacunaError `not-found` with what to install when there is none, `mismatch` for another checkpoint's
 * expectations.
 */
export async function findReference(
  subject: ReferenceSubject,
  { python, expectations }: ReferenceOptions,
): Promise<Reference> {
  if (expectations !== undefined) return storedReference(expectations, subject);
  const search = await searchPythons(subject, python);
  if (search.python !== undefined) return { kind: 'transformers', python: search.python };
  const beside = expectationsPath(subject.path);
  if (python === undefined && (await exists(beside))) return storedReference(beside, subject);
  const none = python === undefined ? [`there is no ${beside}`] : [];
  throw new LacunaError('not-found', `There is nothing to compare with: ${[...search.tried, ...none].join('; ')}`, {
    hint: `${installHint(subject)} Or make the file where it is installed: lacuna verify expect ${subject.path}`,
  });
}

/** A Python with Transformers. Throws 'not-found' with what to install. */
export async function findTransformers(subject: ReferenceSubject, python: string | undefined): Promise<string> {
  const search = await searchPythons(subject, python);
  if (search.python !== undefined) return search.python;
  throw new LacunaError('not-found', `Transformers was not found: ${search.tried.join('; ')}`, {
    hint: installHint(subject),
  });
}

interface Search {
  readonly python: string | undefined;
  /** Why others were not used, one phrase each. */
  readonly tried: readonly string[];
}

async function searchPythons(subject: ReferenceSubject, named: string | undefined): Promise<Search> {
  const tried: string[] = [];
  for (const python of named === undefined ? PYTHONS : [named]) {
    const missing = await missingPackages(python, subject);
    if (missing?.length === 0) return { python, tried };
    if (missing !== undefined) tried.push(`${python} lacks ${missing.join(', ')}`);
    else if (named !== undefined) tried.push(`${python} does not run`);
  }
  return { python: undefined, tried: tried.length === 0 ? ['there is no Python'] : tried };
}

/** Packages beyond torch and Transformers, and what they are for. */
function extraPackages(subject: ReferenceSubject): string[] {
  return [...(subject.adapter === undefined ? [] : ['peft']), ...(isGguf(subject) ? ['gguf'] : [])];
}

function installHint(subject: ReferenceSubject): string {
  const packages = ['torch', 'transformers', ...extraPackages(subject)].join(' ');
  return `pip install ${packages}; a Python that is not found by itself is named by --python PATH.`;
}

/** Where the expectations of the checkpoint at `path` (a folder or a file) are searched. */
export function expectationsPath(path: string): string {
  return extname(path).toLowerCase() === '.gguf' ? `${path}.${EXPECTATIONS_NAME}` : join(path, EXPECTATIONS_NAME);
}

async function storedReference(path: string, { fingerprint, path: checkpoint }: ReferenceSubject): Promise<Reference> {
  const expectations = await readExpectations(path);
  if (expectations.fingerprint !== fingerprint)
    throw new LacunaError('mismatch', `${path} was made from another checkpoint than ${checkpoint}`, {
      hint: `Make it anew: lacuna verify expect ${checkpoint} -o ${path} --force`,
    });
  return { kind: 'expectations', path, expectations };
}

/** Packages that `python` lacks for this subject; undefined if `python` does not run at all. */
async function missingPackages(python: string, subject: ReferenceSubject): Promise<string[] | undefined> {
  const versions = await probeScript(python, SCRIPT);
  if (versions === undefined) return undefined;
  const needed = ['torch', 'transformers', 'tokenizers', 'safetensors', ...extraPackages(subject)];
  return needed.filter((name) => !versions[name]);
}

function isGguf({ path }: ReferenceSubject): boolean {
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
  subject: ReferenceSubject,
  question: Question,
  job: JobOptions,
  use: (expectations: Expectations) => Promise<T>,
): Promise<T> {
  if (reference.kind === 'expectations') return use(reference.expectations);
  const ask = { python: reference.python, subject, question };
  return askTransformers(ask, job, async (path) => use(await readExpectations(path)));
}

export interface AskOptions {
  readonly python: string;
  readonly subject: ReferenceSubject;
  readonly question: Question;
}

/** Runs python/expectations.py. Its file exists while `use` works on it. */
export async function askTransformers<T>(
  { python, subject, question }: AskOptions,
  { progress = SILENT, signal, threads }: JobOptions,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-verify-'));
  try {
    const output = join(folder, EXPECTATIONS_NAME);
    const request = join(folder, 'request.json');
    await writeFile(request, JSON.stringify({ ...requestFor(subject), ...question, output, threads: threads ?? null }));
    const stage = progress.stage('Asking Transformers', question.prompts.length * (1 + question.steps), 'calls');
    await runPython(python, [scriptPath(SCRIPT), request], {
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

function requestFor(subject: ReferenceSubject) {
  const { path, adapter, fingerprint, parameters } = subject;
  return {
    folder: resolve(isGguf(subject) ? dirname(path) : path),
    gguf: isGguf(subject) ? basename(path) : null,
    adapter: adapter === undefined ? null : resolve(adapter),
    fingerprint,
    parameters,
  };
}
