/** Runs this package's Python scripts, which use other people's programs. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseJsonObject } from '../../../formats/json-file.ts';
import { LacunaError, throwIfAborted } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { packageFile } from '../engine/package-files.ts';

/** Tried in this order: a virtual environment of the working folder, then the system's Python. */
const PYTHONS = ['.venv/bin/python', '.venv/Scripts/python.exe', 'python3', 'python'];

/** The Python that is named, or those to try. */
export function pythonsFor(named: string | undefined): readonly string[] {
  return named === undefined ? PYTHONS : [named];
}

export interface PythonRun {
  readonly signal?: AbortSignal | undefined;
  /** Called with what the script writes to stdout. */
  readonly onOutput?: (text: string) => void;
  /** What could not be done, for the error. */
  readonly failure: string;
  /** After this number of milliseconds it is stopped and has failed. */
  readonly limitMs?: number;
}

/** Lines of Python's report that an error repeats: the exception and its message. */
const REPORTED_LINES = 6;

/** The stdout of a script of this package. Throws `runtime` if it fails, `interrupted` once the signal is aborted. */
export async function runScript(
  python: string,
  [script, ...args]: readonly string[],
  { signal, onOutput, failure, limitMs }: PythonRun,
): Promise<string> {
  throwIfAborted(signal);
  const timeout = limitMs && Math.ceil(limitMs);
  const killSignal = 'SIGKILL';
  const child = spawn(python, [packageFile(join('python', script)), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
    killSignal,
  });
  const stop = () => void child.kill(killSignal);
  signal?.addEventListener('abort', stop, { once: true });
  let [output, report] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    onOutput?.(text);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    report = (report + text).slice(-65_536);
  });
  const ended = await new Promise<string | undefined>((done) => {
    child.once('error', (error) => done(error.message));
    child.once('close', (code, killedBy) => {
      if (code === 0) return done(undefined);
      if (child.killed) return done(`it had not ended after ${Math.round((limitMs ?? 0) / 1000)} s`);
      done(killedBy === null ? lastLines(report) || `it exited with ${code}` : `it was stopped by ${killedBy}`);
    });
  });
  signal?.removeEventListener('abort', stop);
  throwIfAborted(signal);
  if (ended === undefined) return output;
  throw new LacunaError('runtime', `${failure}: ${ended}`, {
    hint: `It ran in ${python}; another Python is named by --python PATH.`,
    cause: new Error(report),
  });
}

function lastLines(report: string): string {
  const lines = report.split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-REPORTED_LINES).join('\n  ');
}

/** Versions of a script's packages by name, null for missing ones; undefined if `python` does not run it. */
export async function probeScript(python: string, script: string): Promise<JsonObject | undefined> {
  try {
    // A program that accepts any argument is not a Python.
    return parseJsonObject(await runScript(python, [script, '--probe'], { failure: 'No answer' }), 'the answer');
  } catch {
    return undefined;
  }
}
