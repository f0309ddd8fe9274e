/** One case: the input, its reader and its changes, all from two numbers. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createRandom, randomOfCase } from '../harness/random.ts';
import { withFolder } from '../harness/scratch.ts';
import { type InputFiles, mutateInput, readInput, writeInput } from './files.ts';
import { KINDS, type Kind, type Outcome, type Use } from './kinds.ts';

export interface Mutation {
  readonly file: string;
  readonly seed: number;
}

export interface InputCase {
  readonly kind: Kind;
  readonly use: Use;
  /** Whether hashes are adapted to the changes, so that reading goes on behind them. */
  readonly rebinds: boolean;
  readonly mutations: readonly Mutation[];
}

/**
 * Large vocabularies and weights that nothing reads are changed less often than what is read first, and graphs more
 * often.
 */
const LARGE_BYTES = 64 << 10;

/** The case `index`. `filesOf` gives the sound files of a kind. */
export function chooseCase(seed: number, index: number, filesOf: (folder: string) => InputFiles): InputCase {
  const random = randomOfCase(seed, index);
  const kind = random.weighted(KINDS);
  const use = random.weighted(kind.uses);
  const names = [...filesOf(kind.folder)]
    .filter(([name]) => !use.spares?.test(name))
    .map(([name, file]) => {
      const isLarge = file.kind === 'bytes' && file.bytes.length > LARGE_BYTES;
      return { name, weight: name.endsWith('.onnx') ? 4 : isLarge ? 0.5 : 1 };
    });
  // Most have one change, which is easiest to understand. Some have several, which together reach further.
  const count = random.chance(0.6) ? 1 : 1 + random.int(5);
  const mutations = Array.from({ length: count }, () => ({ file: random.weighted(names).name, seed: random.seed() }));
  return { kind, use, rebinds: random.chance(0.8), mutations };
}

/** The case without some of its changes, by their numbers. */
export function withoutMutations(one: InputCase, left: readonly number[]): InputCase {
  return { ...one, mutations: one.mutations.filter((_, i) => !left.includes(i)) };
}

/** The files of a case: the sound ones with its changes. */
export function filesOfCase({ rebinds, mutations }: InputCase, sound: InputFiles): InputFiles {
  const changed = mutations.reduce((files, { file, seed }) => mutateInput(files, file, createRandom(seed)), sound);
  return rebinds ? rebound(changed) : changed;
}

/** Statistics and plans name the hash of the tensors beside them. It is written anew if the JSON still has it. */
function rebound(files: InputFiles): InputFiles {
  const name = [...files.keys()].find((one) => /^(statistics|plan)\.json$/.test(one)) ?? '';
  const json = files.get(name);
  const tensors = files.get(name.replace('.json', '.safetensors'));
  if (json?.kind !== 'bytes' || tensors?.kind !== 'bytes') return files;
  const hash = createHash('sha256').update(tensors.bytes).digest('hex');
  const text = Buffer.from(json.bytes).toString('utf8');
  const bound = text.replace(/("tensors":\s*\{[^}]*"sha256":\s*")[0-9a-f]{64}"/, `$1${hash}"`);
  return bound === text ? files : new Map(files).set(name, { kind: 'bytes', bytes: Buffer.from(bound) });
}

/** Runs a case in `folder`, which is made and removed. Returns why it failed, or undefined. */
export async function runCase(
  one: InputCase,
  files: InputFiles,
  seeds: string,
  folder: string,
): Promise<string | undefined> {
  const input = join(folder, 'input');
  return withFolder(folder, async () => {
    writeInput(files, input);
    const before = listing(input);
    const outcome = await one.use.run({ input, seeds, output: join(folder, 'output.json') });
    return outcome.fault ?? leftBehind(folder, before, outcome);
  });
}

function leftBehind(folder: string, before: readonly string[], { succeeded }: Outcome): string | undefined {
  // Rounded layers are kept for the next run of a failed conversion.
  const allowed = succeeded ? /^(input|output\.(json|json\.html|safetensors))$/ : /^(input|output\.json\.rounding)$/;
  const others = readdirSync(folder).filter((name) => !allowed.test(name));
  if (others.length > 0) return `left behind ${others.join(', ')}`;
  const after = listing(join(folder, 'input'));
  return after.join() === before.join() ? undefined : `changed the folder of its input: ${after.join(', ')}`;
}

/** Paths with sizes. Links are not followed. */
function listing(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => `${name} ${lstatSync(join(folder, name)).size}`);
}

/** Gives the sound files of a kind. Each is read once. */
export function soundFiles(seeds: string): (folder: string) => InputFiles {
  const known = new Map<string, InputFiles>();
  return (folder) => {
    const files = known.get(folder) ?? readInput(join(seeds, folder));
    known.set(folder, files);
    return files;
  };
}
