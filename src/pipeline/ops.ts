/** `lacuna ops`: the library of operators, for hosts that load one by its path or from a model folder. */
import { createReadStream } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, join, posix } from 'node:path';
import type * as z from 'zod';
import { writeFileAtomically } from '../../formats/files.ts';
import { readJsonObject } from '../../formats/json-file.ts';
import { readOnnx } from '../../formats/onnx/index.ts';
import { writeJson } from '../../formats/tensors-beside.ts';
import { LacunaError } from '../core/errors.ts';
import { LACUNA_DOMAIN } from '../core/graph.ts';
import { isJsonObject, type JsonObject } from '../core/json.ts';
import { checkArgument, door, optionsOf, path } from '../core/options.ts';
import { BLOCK_NAMES, IN_BLOCKS, listed } from '../core/precision.ts';
import { findNativeLibrary, nativePath } from './engine/native-library.ts';
import { isModelFolder, MAX_JSON_BYTES } from './folder/model-folder.ts';
import { exists } from './folder/output.ts';
import { flag, nativeFolder } from './options.ts';

/** `nativeFolder`: where the native library is; found by itself when absent. */
export const opsPathOptions = optionsOf({}, { nativeFolder });

export interface OpsPathOptions extends z.infer<typeof opsPathOptions> {}

export const opsInstallOptions = optionsOf(
  {
    /** A model folder that holds operators of ours. */
    folder: path,
  },
  {
    nativeFolder,
    /** Takes out what an earlier call put in. */
    undo: flag,
  },
);

export interface OpsInstallOptions extends z.infer<typeof opsInstallOptions> {}

export interface OpsInstallResult {
  readonly folder: string;
  readonly installed: boolean;
  /** The library's path in the folder, now or before. */
  readonly files: readonly string[];
}

const CONFIG = 'genai_config.json';

/** The library's absolute path, for `register_custom_ops_library`. Throws `not-found` where it cannot be used, saying why. */
export async function opsPath(options: OpsPathOptions = {}): Promise<string> {
  const { nativeFolder } = checkArgument(opsPathOptions, options, { of: 'opsPath' });
  const library = await findNativeLibrary(nativePath(nativeFolder));
  if (library.state === 'present') return library.path;
  throw new LacunaError('not-found', `The native library cannot be used: ${library.why} (${library.path})`, {
    hint: 'In a clone, build it with `npm run build:native`; models run by their portable bodies without it.',
  });
}

/**
 * Copies the library beside a folder's model and names it in genai_config.json, relative to the folder. So the folder
 * may be moved, also to machines of the same kind. `undo` removes both. A second call of either changes nothing. Throws
 * `unsupported` for a folder with no operator of Lacuna's, `exists` if another library is named.
 */
export const installOps = door('installOps', opsInstallOptions, async (options: OpsInstallOptions) => {
  const { folder, undo = false } = options;
  const config = await readConfig(folder);
  return undo ? uninstall(folder, config) : install(options, config);
});

async function install({ folder, nativeFolder }: OpsInstallOptions, config: GenaiConfig): Promise<OpsInstallResult> {
  const { model, named } = config;
  await refuseWithoutOperators(folder, model);
  const source = await opsPath({ nativeFolder });
  const library = posix.join(posix.dirname(model), basename(source));
  if (named !== undefined && named !== library)
    throw new LacunaError('exists', `${join(folder, CONFIG)} already names a library of operators: ${named}`, {
      hint: 'A session of onnxruntime-genai loads one such library: take that one out first.',
    });
  await writeFileAtomically(join(folder, library), createReadStream(source));
  // Last, so that a folder never names a missing file.
  await config.write(library);
  return { folder, installed: true, files: [library] };
}

async function uninstall(folder: string, { model, named, write }: GenaiConfig): Promise<OpsInstallResult> {
  const beside = posix.dirname(model);
  const present = await readdir(join(folder, beside)).catch(() => []);
  const files = present.filter((name) => OURS.test(name)).map((name) => posix.join(beside, name));
  if (named !== undefined && files.includes(named)) await write(undefined);
  for (const file of files) await rm(join(folder, file), { force: true });
  return { folder, installed: false, files };
}

const OURS = /^(lib)?lacuna_ort\.(so|dylib|dll)$/;

async function refuseWithoutOperators(folder: string, model: string): Promise<void> {
  const { functions } = await readOnnx(join(folder, model));
  if (functions.some(({ domain }) => domain === LACUNA_DOMAIN)) return;
  throw new LacunaError(
    'unsupported',
    `${folder} holds no operator of Lacuna's: the library would have nothing to do`,
    { hint: `Sparse folders hold some (lacuna sparsify, lacuna build), and dense ones in ${IN_BLOCKS}.` },
  );
}

interface GenaiConfig {
  /** The .onnx file, relative to the folder. */
  readonly model: string;
  /** The library in genai_config.json. */
  readonly named: string | undefined;
  /** Replaces the library, or removes it. */
  readonly write: (library: string | undefined) => Promise<void>;
}

async function readConfig(folder: string): Promise<GenaiConfig> {
  const path = join(folder, CONFIG);
  if (!(await isModelFolder(folder)) || !(await exists(path)))
    throw new LacunaError('not-found', `${folder} is no model folder with a ${CONFIG}`, {
      hint: `Give a folder made by lacuna sparsify, build, or convert to ${listed(BLOCK_NAMES, 'or')}.`,
    });
  const { value } = await readJsonObject(path, MAX_JSON_BYTES);
  const model = objectIn(value, 'model', path);
  const decoder = objectIn(model, 'decoder', path);
  const session = objectIn(decoder, 'session_options', path);
  const { custom_ops_library: named, ...others } = session;
  if (typeof decoder.filename !== 'string') throw badConfig(path, 'model.decoder.filename');
  if (named !== undefined && typeof named !== 'string') throw badConfig(path, 'custom_ops_library');
  const write = (library: string | undefined) => {
    const options = library === undefined ? others : { ...others, custom_ops_library: library };
    return writeJson(path, { ...value, model: { ...model, decoder: { ...decoder, session_options: options } } });
  };
  return { model: decoder.filename, named, write };
}

function objectIn(parent: JsonObject, name: string, path: string): JsonObject {
  const value = parent[name];
  if (isJsonObject(value)) return value;
  throw badConfig(path, name);
}

function badConfig(path: string, what: string): LacunaError {
  return new LacunaError('bad-file', `${path} holds no usable ${what}`, { hint: 'Make the folder again.' });
}
