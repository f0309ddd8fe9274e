/** The output folder: one folder that ONNX Runtime, onnxruntime-genai, transformers.js and optimum load. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { sharesCacheBuffer } from '../../converters/index.ts';
import { checksumOf } from '../../formats/checksum.ts';
import { withNewFolder } from '../../formats/files.ts';
import { readOnnx, type WrittenFile, writeOnnx } from '../../formats/onnx/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { Graph } from '../core/graph.ts';
import { LACUNA_VERSION, MANIFEST_FORMAT, MANIFEST_VERSION, type Manifest, manifestSchema } from '../core/manifest.ts';
import type { ModelSpec } from '../core/model.ts';
import type { Plan } from '../core/plan.ts';
import { choosePrecision, type Precision } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import { exists } from './exists.ts';
import { genaiConfig } from './genai-config.ts';
import { modelCard } from './model-card.ts';

export const MODEL_FILE = 'onnx/model.onnx';
export const MANIFEST_FILE = 'lacuna.json';

/** Files taken over from the source as they are, when they are there. */
const COPIED = ['generation_config.json', 'tokenizer.json', 'special_tokens_map.json', 'tokenizer.model'] as const;

/** What a model folder is made from. */
export interface FolderContent {
  readonly graph: Graph;
  readonly spec: ModelSpec;
  readonly fingerprint: string;
  readonly plan: Plan | null;
  /** fp32 by default. */
  readonly precision?: Precision;
  /** Folder whose config and tokenizer files are taken over: a checkpoint or another model folder. */
  readonly source: string;
}

export interface WriteFolderOptions extends JobOptions {
  readonly force?: boolean;
}

/**
 * Writes a model folder under a temporary name and renames it when it is whole.
 *
 * @throws LacunaError `exists` when `path` is there and `force` is not given.
 */
export async function writeModelFolder(
  path: string,
  content: FolderContent,
  options: WriteFolderOptions = {},
): Promise<Manifest> {
  return withNewFolder(path, { force: options.force ?? false }, async (folder) => {
    await mkdir(join(folder, 'onnx'));
    const weights = await writeOnnx(content.graph, join(folder, MODEL_FILE), options);
    const copied = await copySmallFiles(content.source, folder);
    const written = await writeConfigs(folder, content);
    const small = await Promise.all([...copied, ...written].map((name) => checkFile(join(folder, name))));
    const manifest = describe(folder, content, [...weights, ...small]);
    await writeFile(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`);
    return manifest;
  });
}

async function copySmallFiles(source: string, folder: string): Promise<string[]> {
  const copied: string[] = [];
  for (const name of COPIED) {
    if (!(await exists(join(source, name)))) continue;
    await copyFile(join(source, name), join(folder, name));
    copied.push(name);
  }
  return copied;
}

async function writeConfigs(folder: string, content: FolderContent): Promise<string[]> {
  const config = await readJson(join(content.source, 'config.json'));
  const files: Record<string, string> = {
    'config.json': pretty({
      ...config,
      'transformers.js_config': transformersJs(content),
    }),
    'genai_config.json': pretty(genaiConfig(content.spec, sharesCacheBuffer(content.spec))),
    'README.md': modelCard(content.spec, content.plan, precisionOf(content), oldestRuntime(content.graph)),
  };
  const tokenizerConfig = await tokenizerConfigWithTemplate(content.source);
  if (tokenizerConfig !== undefined) files['tokenizer_config.json'] = pretty(tokenizerConfig);
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return Object.keys(files);
}

function precisionOf({ precision }: FolderContent): Precision {
  return precision ?? choosePrecision('fp32');
}

/** transformers.js appends its dtype's suffix to the file's name; ours has none, which it calls fp32. */
function transformersJs(content: FolderContent): Record<string, unknown> {
  const cache = precisionOf(content).floats === 'float16' ? { kv_cache_dtype: 'float16' } : {};
  return { dtype: 'fp32', use_external_data_format: { 'model.onnx': 1 }, ...cache };
}

function storedAs({ name, linear }: Precision): Pick<Manifest, 'precision' | 'blocks'> {
  const precision = name as Manifest['precision'];
  if (linear.kind !== 'blocks') return { precision };
  return { precision, blocks: { blockSize: linear.blockSize, symmetric: linear.symmetric } };
}

/** tokenizer_config.json with the chat template inside: transformers.js reads no chat_template.jinja. */
async function tokenizerConfigWithTemplate(source: string): Promise<Record<string, unknown> | undefined> {
  const path = join(source, 'tokenizer_config.json');
  if (!(await exists(path))) return undefined;
  const config = await readJson(path);
  const template = join(source, 'chat_template.jinja');
  if (config.chat_template !== undefined || !(await exists(template))) return config;
  return { ...config, chat_template: await readFile(template, 'utf8') };
}

async function checkFile(path: string): Promise<WrittenFile> {
  const content = await readFile(path);
  return { path, bytes: content.length, crc32: checksumOf(content) };
}

function describe(folder: string, content: FolderContent, written: readonly WrittenFile[]): Manifest {
  const files = written.map((file) => ({ ...file, path: relative(folder, file.path) }));
  const { graph, spec, fingerprint, plan } = content;
  return {
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
    lacuna: LACUNA_VERSION,
    ...storedAs(precisionOf(content)),
    onnxruntime: oldestRuntime(graph),
    spec: { ...spec, eosTokenIds: [...spec.eosTokenIds] },
    fingerprint,
    plan,
    files: files.sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

/**
 * The oldest ONNX Runtime that computes the graph rightly: function bodies need 1.21, products of 8-bit blocks 1.22, and
 * looking rows of blocks up 1.23; before 1.24 GroupQueryAttention counted one token too many in a sliding window.
 */
function oldestRuntime({ nodes }: Graph): string {
  const attributeAbove = (name: string, limit: number) =>
    nodes.some(({ attributes: { [name]: found } }) => found?.kind === 'int' && found.value > limit);
  if (attributeAbove('local_window_size', 0)) return '>=1.24';
  if (nodes.some(({ opType }) => opType === 'GatherBlockQuantized')) return '>=1.23';
  return attributeAbove('bits', 4) ? '>=1.22' : '>=1.21';
}

/** A model folder opened: its manifest and its graph, weights still on disk. */
export interface ModelFolder {
  readonly path: string;
  readonly manifest: Manifest;
  readonly graph: Graph;
}

/** Whether `path` is a folder that Lacuna wrote. */
export async function isModelFolder(path: string): Promise<boolean> {
  return exists(join(path, MANIFEST_FILE));
}

export async function readManifest(path: string): Promise<Manifest> {
  if (!(await isModelFolder(path))) {
    throw new LacunaError('not-found', `No ${MANIFEST_FILE} in ${path}: not a folder that Lacuna wrote`, {
      hint: `Convert the checkpoint first: lacuna convert ${path} -o DIR`,
    });
  }
  const result = manifestSchema.safeParse(await readJson(join(path, MANIFEST_FILE)));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new LacunaError('bad-file', `${join(path, MANIFEST_FILE)}: ${issue.path.join('.')}: ${issue.message}`, {
    hint: 'Make the folder again with this version of Lacuna.',
  });
}

export async function openModelFolder(path: string): Promise<ModelFolder> {
  const manifest = await readManifest(path);
  return { path, manifest, graph: await readOnnx(join(path, MODEL_FILE)) };
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new LacunaError('not-found', `Cannot read ${path}`, { cause });
  });
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new LacunaError('bad-file', `${path} is not JSON`, { cause });
  }
}

function pretty(data: unknown): string {
  return `${JSON.stringify(data, null, 2)}\n`;
}
