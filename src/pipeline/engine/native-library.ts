/** The native library of kernels: where it is, what it is for, and whether this machine could load it. */
import { existsSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { readJsonObject } from '../../../formats/json-file.ts';
import { libraryProblem } from '../../runtime/index.ts';
import { MAX_JSON_BYTES } from '../folder/model-folder.ts';
import { exists } from '../folder/output.ts';
import { findPackageFile } from './package-files.ts';

export type NativeLibrary =
  | { readonly state: 'absent' | 'unusable'; readonly path: string; readonly why: string }
  /** `madeFor` is null for a library that this machine's compiler built. */
  | { readonly state: 'present'; readonly path: string; readonly madeFor: MadeFor | null };

/** The machine that a library of the package is for. */
const madeFor = z.object({
  /** As Node calls its platform and processor. */
  target: z.string(),
  /** The oldest system. */
  needs: z.string(),
  /** Where the libraries have run before they were packed. */
  tested: z.string(),
});

export type MadeFor = z.infer<typeof madeFor>;

const FILE_NAMES: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  linux: 'liblacuna_ort.so',
  darwin: 'liblacuna_ort.dylib',
  win32: 'lacuna_ort.dll',
};

/** The addon for Node beside the library. */
export const ADDON_NAME = 'lacuna_node.node';

/** What the library is made for (scripts/build-native.js writes it). */
const MADE_FOR = 'native.json';

const machine = () => `${platform()}-${arch()}`;

/**
 * The folder of the native core: the given one, else what this machine's compiler built in a clone, else what the package
 * carries for this machine, whether it exists or not.
 */
export function nativePath(named?: string | URL): string {
  if (named !== undefined) return typeof named === 'string' ? named : fileURLToPath(named);
  const root = dirname(findPackageFile('package.json') ?? import.meta.filename);
  const [built, carried] = ['release', machine()].map((build) => join(root, 'native/build', build, 'lib'));
  return `${existsSync(join(built, ADDON_NAME)) ? built : carried}${sep}`;
}

/** What is in `folder`. Only headers are read. If a library is broken further on, the host that loads it finds out. */
export async function findNativeLibrary(folder: string): Promise<NativeLibrary> {
  const name = FILE_NAMES[platform()];
  if (name === undefined) return { state: 'absent', path: folder, why: `there is none for ${platform()}` };
  const path = join(folder, name);
  if (!(await exists(path))) {
    const why = `this installation has none for ${machine()} (in a clone, npm run build:native builds it)`;
    return { state: 'absent', path, why };
  }
  const why = libraryProblem(path);
  if (why !== undefined) return { state: 'unusable', path, why };
  return { state: 'present', path, madeFor: await readMadeFor(folder) };
}

async function readMadeFor(folder: string): Promise<MadeFor | null> {
  const { value } = await readJsonObject(join(folder, MADE_FOR), MAX_JSON_BYTES).catch(() => ({ value: {} }));
  return madeFor.safeParse(value).data ?? null;
}
