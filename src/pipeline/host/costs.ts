/** The costs of this host: measured before and kept, or the package's own. */
import { mkdir } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { sha256Bytes } from '../../../formats/files.ts';
import { readJson, writeJson } from '../../../formats/tensors-beside.ts';
import { LacunaError } from '../../core/errors.ts';
import { type CostsKey, type HostCosts, hostCostsSchema } from '../../core/host-costs.ts';
import type { HostKind } from '../../core/host-kind.ts';
import { LACUNA_VERSION } from '../../core/manifest.ts';
import { type JobOptions, SILENT } from '../../core/progress.ts';
import { DEFAULT_COSTS } from '../../plan/index.ts';
import { operatorSetOf, runtimeVersion } from '../../runtime/index.ts';
import { findNativeFiles } from '../engine/engine.ts';
import { exists } from '../folder/output.ts';

export interface CostsOptions extends Pick<JobOptions, 'threads' | 'progress'> {
  readonly cacheFolder?: string | undefined;
  readonly nativeFolder?: string | URL | undefined;
}

/** Throws `not-found` for the native host where its core is not built, `runtime` where ONNX Runtime does not load. */
export async function costsKey(host: HostKind, { threads, nativeFolder }: CostsOptions): Promise<CostsKey> {
  const [processor] = cpus();
  return {
    host,
    processor: processor?.model.trim() || 'unknown',
    // Without a number, ONNX Runtime starts one thread for each core.
    threads: threads ?? availableParallelism(),
    onnxruntime: await runtimeVersion(),
    lacuna: LACUNA_VERSION,
    operatorSet: host === 'native' ? operatorSetOf(await nativeAddon(nativeFolder)) : null,
  };
}

async function nativeAddon(nativeFolder: string | URL | undefined): Promise<string> {
  const native = await findNativeFiles(nativeFolder);
  if (native !== undefined) return native.addon;
  throw new LacunaError('not-found', 'The native core is not built here, so its host cannot be measured', {
    hint: 'In a clone, build it with `npm run build:native`, or use --host stock.',
  });
}

/** Where the costs of a host are kept in a cache folder: named by everything that decides them. */
export function costsPath(cacheFolder: string, key: CostsKey): string {
  return join(cacheFolder, 'costs', `${key.host}-${sha256Bytes(JSON.stringify(key)).slice(0, 16)}.json`);
}

/** Keeps them there, beside those of precisions that were measured before. */
export async function saveCosts(cacheFolder: string, costs: HostCosts): Promise<string> {
  const path = costsPath(cacheFolder, costs.key);
  await mkdir(dirname(path), { recursive: true });
  await writeJson(path, { ...costs, precisions: { ...(await precisionsKept(path)), ...costs.precisions } });
  return path;
}

/** A file that cannot be used is replaced. */
async function precisionsKept(path: string): Promise<HostCosts['precisions']> {
  if (!(await exists(path))) return {};
  try {
    return (await readJson(path, hostCostsSchema, 'costs of a host')).precisions;
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    return {};
  }
}

/**
 * The costs of a host as `measureHost` kept them, and for precisions that it did not measure the package's own. Never throws: a file
 * that cannot be used is named in a note, and plans and figures can do without it.
 */
export async function costsOfHost(host: HostKind, options: CostsOptions): Promise<HostCosts> {
  const { cacheFolder, progress = SILENT } = options;
  const usual = DEFAULT_COSTS[host];
  if (cacheFolder === undefined || !(await exists(join(cacheFolder, 'costs')))) return usual;
  try {
    const key = await costsKey(host, options);
    const path = costsPath(cacheFolder, key);
    if (!(await exists(path))) return usual;
    const measured = await readJson(path, hostCostsSchema, 'costs of a host');
    return { ...measured, key, precisions: { ...usual.precisions, ...measured.precisions } };
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    // Where the host itself is not here, there is nothing to measure anew.
    if (error.code === 'bad-file')
      progress.note(
        `Times are expected by the package's own figures: ${error.message}; lacuna host measures them anew`,
      );
    return usual;
  }
}
