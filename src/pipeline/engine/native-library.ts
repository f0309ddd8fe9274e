/** The native library of kernels: where it is, and whether this machine could load it. */
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LACUNA_VERSION } from '../../core/manifest.ts';
import { findPackageFile } from './package-files.ts';

export type NativeLibrary =
  | { readonly state: 'absent' | 'unusable'; readonly path: string; readonly why: string }
  | { readonly state: 'present'; readonly path: string };

const FILE_NAMES: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  linux: 'liblacuna_ort.so',
  darwin: 'liblacuna_ort.dylib',
  win32: 'lacuna_ort.dll',
};

/** The addon for Node beside the library. */
export const ADDON_NAME = 'lacuna_node.node';

/** Machine codes (System V ABI, e_machine) in the ELF headers of our builds. */
const ELF_MACHINES: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64' };
/** Bytes up to and including e_machine. */
const ELF_HEADER_BYTES = 20;

/** The package with the native core built for a machine (scripts/pack-native.js makes it). */
function platformPackage(): string {
  return `@lacuna/native-${platform()}-${arch()}`;
}

/**
 * The folder of the native core: the given one, else that of the platform package if it is installed beside this one in
 * the same version, else the build folder of this package, whether it exists or not.
 */
export function nativePath(named?: string | URL): string {
  if (named !== undefined) return typeof named === 'string' ? named : fileURLToPath(named);
  const root = dirname(findPackageFile('package.json') ?? import.meta.filename);
  return `${packagedFolder() ?? join(root, 'native/build/release/lib')}${sep}`;
}

function packagedFolder(): string | undefined {
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url).resolve(`${platformPackage()}/package.json`);
  } catch {
    return undefined;
  }
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  return version === LACUNA_VERSION ? join(dirname(manifest), 'lib') : undefined;
}

/** What is in `folder`. Only headers are read. If a library is broken further on, the host that loads it finds out. */
export async function findNativeLibrary(folder: string): Promise<NativeLibrary> {
  const name = FILE_NAMES[platform()];
  if (name === undefined) return { state: 'absent', path: folder, why: `there is none for ${platform()}` };
  const path = join(folder, name);
  const header = await readHeader(path);
  if (header === undefined) {
    const why = `it is not built (npm run build:native), and ${platformPackage()} ${LACUNA_VERSION} is not installed`;
    return { state: 'absent', path, why };
  }
  const why = platform() === 'linux' ? elfProblem(header) : undefined;
  return why === undefined ? { state: 'present', path } : { state: 'unusable', path, why };
}

async function readHeader(path: string): Promise<Buffer | undefined> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return undefined;
  const reading = file.read(Buffer.alloc(ELF_HEADER_BYTES), 0, ELF_HEADER_BYTES, 0);
  const { buffer, bytesRead } = await reading.finally(() => file.close());
  return buffer.subarray(0, bytesRead);
}

function elfProblem(header: Buffer): string | undefined {
  if (header.length < ELF_HEADER_BYTES || header.readUInt32BE(0) !== 0x7f454c46) return 'it is not a shared library';
  const machine = header.readUInt16LE(18);
  const built = ELF_MACHINES[machine] ?? `machine ${machine}`;
  return built === arch() ? undefined : `it is built for ${built}, and this is ${arch()}`;
}
