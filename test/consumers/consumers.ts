/** Hosts of a model folder that are not ours, each called the way its users call it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { env, pipeline } from '@huggingface/transformers';
import type { InferenceSession } from 'onnxruntime-node';
import { runScript } from '../python/host.ts';
import { required, root } from '../real/real-model.ts';

export const python = join(root, '.venv-consumers/bin/python');

/** Debian's; playwright-core brings no browser. */
export const chromium = '/usr/bin/chromium';

export const hasPython = isThere(
  'onnxruntime-genai and optimum',
  python,
  'python3 -m venv .venv-consumers && .venv-consumers/bin/pip install -r test/consumers/requirements.txt',
);
export const hasChromium = isThere('onnxruntime-web', chromium, 'apt-get install --no-install-recommends chromium');

/** When something is missing that nothing requires, its tests stand aside and say what to install. */
function isThere(consumer: string, file: string, install: string): boolean {
  if (required || existsSync(file)) return true;
  console.warn(`${consumer}: not tested, for there is no ${file}. To test: ${install}`);
  return false;
}

/** What a consumer made of a prompt. */
export interface Answer {
  readonly promptIds: readonly number[];
  readonly tokens: readonly number[];
  readonly text: string;
}

/** A job of run_genai.py, which says what it answers to each kind. */
export function genai(job: { readonly folder: string; readonly kind: string } & Record<string, unknown>) {
  return runPython('run_genai.py', job, job.kind === 'libraries');
}

interface OptimumJob {
  readonly folder: string;
  readonly prompt: string | readonly number[];
  readonly count: number;
}

/** Jobs of run_optimum.py. */
export function optimum(jobs: readonly OptimumJob[]): Promise<readonly (Answer & { readonly error?: string })[]> {
  return runPython('run_optimum.py', jobs);
}

/** The text that transformers.js adds to a prompt; in the process of the tests, on the CPU. */
export async function transformersJs(folder: string, prompt: string, count: number): Promise<string> {
  const generator = await textGeneration(folder);
  const [answer] = await generator(prompt, { max_new_tokens: count, do_sample: false, return_full_text: false });
  await generator.dispose();
  return String(answer.generated_text);
}

/** The pipeline of a folder, from local files alone. */
export function textGeneration(
  folder: string,
  options: { readonly dtype?: 'int8' | 'q4'; readonly session_options?: InferenceSession.SessionOptions } = {},
) {
  env.allowRemoteModels = false;
  return pipeline('text-generation', folder, options);
}

async function runPython(script: string, input: unknown, isAlone = false) {
  const run = { input: JSON.stringify(input), isAlone };
  return JSON.parse(await runScript(python, join(import.meta.dirname, script), [], run));
}
