/** The output folder: one folder that ONNX Runtime, onnxruntime-genai, transformers.js and optimum load. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { hostConfig, sharesCacheBuffer } from '../../../converters/index.ts';
import { checksumOf } from '../../../formats/checksum.ts';
import { sha256Bytes, sha256File, withNewFolder, writeFileAtomically } from '../../../formats/files.ts';
import { readJsonObject } from '../../../formats/json-file.ts';
import { readNumbers, readOnnx, sizesOf, type WrittenFile, writeOnnx } from '../../../formats/onnx/index.ts';
import { readBounded } from '../../../formats/regular-file.ts';
import {
  MAX_SMALL_FILE_BYTES,
  openModelFiles,
  readSmallJson,
  readSmallText,
  type SmallFileName,
} from '../../../formats/small-files.ts';
import type { ModelFiles } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Graph } from '../../core/graph.ts';
import { prettyJson } from '../../core/json.ts';
import {
  LACUNA_VERSION,
  MANIFEST_FORMAT,
  MANIFEST_VERSION,
  type Manifest,
  type ManifestModel,
  manifestSchema,
} from '../../core/manifest.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Plan } from '../../core/plan.ts';
import { type Precision, type Rounding, vocabularyOf } from '../../core/precision.ts';
import type { JobOptions } from '../../core/progress.ts';
import type { TextIdentity } from '../../core/statistics.ts';
import { OPERATOR_SET } from '../../ops/index.ts';
import { checkNumbers } from '../../runtime/index.ts';
import { genaiConfig } from './genai-config.ts';
import { modelCard } from './model-card.ts';
import { exists } from './output.ts';
import { portableTokenizerConfig } from './tokenizer-config.ts';
import { modelFileOf, transformersJsConfig } from './transformers-js.ts';

export const MANIFEST_FILE = 'lacuna.json';
const CARD_FILE = 'README.md';

/** Files copied unchanged from the source, if they exist. */
const COPIED = ['generation_config.json', 'tokenizer.json', 'special_tokens_map.json', 'tokenizer.model'] as const;

/** Files of a source that go into the folder, in whole or in part. */
const READ = ['config.json', 'tokenizer_config.json', 'chat_template.jinja'] as const;

/** Larger than any JSON file of a model, of statistics or of a plan. The largest known are a few megabytes. */
export const MAX_JSON_BYTES = 64 << 20;

/** The small files of a source that are there, of these names. */
function presentFiles({ files }: ModelFiles, names: readonly SmallFileName[]) {
  return names.flatMap((name) => {
    const file = files.get(name);
    return file === undefined ? [] : [{ name, file }];
  });
}

/** sha256 of every small file that a folder made from `source` depends on, by name. */
export async function hashSmallFiles(source: ModelFiles): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const { name, file } of presentFiles(source, [...COPIED, ...READ]))
    hashes[name] = 'text' in file ? sha256Bytes(file.text()) : await sha256File(file.path);
  return hashes;
}

/** One model of a folder, before it is written. */
export interface FolderModel {
  readonly graph: Graph;
  readonly precision: Precision;
  /** How texts rounded the weights, and which texts; absent if none did. */
  readonly rounding?: Rounding | undefined;
  readonly calibratedOn?: readonly TextIdentity[] | undefined;
}

/** What a model folder is made from. */
export interface FolderContent {
  /** The same model in different precisions, the default one first. */
  readonly models: readonly FolderModel[];
  readonly spec: ModelSpec;
  readonly fingerprint: string;
  readonly plan: Plan | null;
  /** The source of the config and tokenizer files: a checkpoint or another model folder. */
  readonly source: ModelFiles;
}

export interface WriteFolderOptions extends JobOptions {
  readonly force?: boolean;
}

/** Writes a model folder under a temporary name and renames it when it is complete. Throws `exists` without `force`. */
export async function writeModelFolder(
  path: string,
  content: FolderContent,
  options: WriteFolderOptions = {},
): Promise<Manifest> {
  return withNewFolder(path, { force: options.force ?? false }, async (folder) => {
    await mkdir(join(folder, 'onnx'));
    const weights: WrittenFile[] = [];
    // One after the other, because each of them keeps the disk busy.
    for (const [index, { graph, precision }] of content.models.entries())
      weights.push(...(await writeOnnx(graph, join(folder, modelFileOf(precision, index)), options)));
    const copied = presentFiles(content.source, COPIED);
    // Copied by content: copying the permissions of a read-only source would make files that cannot be synced.
    for (const { name, file } of copied)
      await writeFile(
        join(folder, name),
        'text' in file ? file.text() : await readBounded(file.path, MAX_SMALL_FILE_BYTES),
      );
    const texts = await configTexts(content);
    for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, name), text);
    const names = [...copied.map(({ name }) => name), ...Object.keys(texts)];
    const small = await Promise.all(names.map((name) => checkFile(join(folder, name))));
    const manifest = describe(folder, content, [...weights, ...small]);
    await writeFile(join(folder, MANIFEST_FILE), prettyJson(manifest));
    return manifest;
  });
}

/** Adds a section to a folder's model card, or replaces the one of its heading, and updates the card's checksum. */
export async function addToCard(path: string, section: string): Promise<void> {
  const manifest = await readManifest(path);
  const card = join(path, CARD_FILE);
  const [heading] = section.split('\n', 1);
  const [before] = (await readFile(card, 'utf8')).split(`\n${heading}\n`);
  await writeFileAtomically(card, `${before}\n${section}`);
  const checked = { ...(await checkFile(card)), path: CARD_FILE };
  const files = manifest.files.map((file) => (file.path === CARD_FILE ? checked : file));
  await writeFileAtomically(join(path, MANIFEST_FILE), prettyJson({ ...manifest, files }));
}

/** The files that `writeModelFolder` would write. Only weights inside the .onnx files are read. */
export async function planModelFolder(content: FolderContent): Promise<readonly PlannedFile[]> {
  const files: PlannedFile[] = [];
  for (const [index, { graph, precision }] of content.models.entries()) {
    const path = modelFileOf(precision, index);
    const { modelBytes, dataBytes } = await sizesOf(graph, `${basename(path)}_data`);
    files.push({ path, bytes: modelBytes }, ...(dataBytes > 0 ? [{ path: `${path}_data`, bytes: dataBytes }] : []));
  }
  for (const { name, file } of presentFiles(content.source, COPIED))
    files.push({ path: name, bytes: 'text' in file ? Buffer.byteLength(file.text()) : (await stat(file.path)).size });
  for (const [path, text] of Object.entries(await configTexts(content)))
    files.push({ path, bytes: Buffer.byteLength(text) });
  // All checksums have the same length.
  const crc32 = checksumOf(new Uint8Array(0));
  const written = files.map((file) => ({ ...file, crc32 }));
  const manifest = prettyJson(describe('', content, written));
  return [...files, { path: MANIFEST_FILE, bytes: Buffer.byteLength(manifest) }];
}

export type PlannedFile = Omit<WrittenFile, 'crc32'>;

async function configTexts(content: FolderContent): Promise<Readonly<Record<string, string>>> {
  const sourceConfig = await readSmallJson(content.source, 'config.json', MAX_JSON_BYTES);
  if (sourceConfig === undefined) throw new LacunaError('not-found', `${content.source.path} has no config.json`);
  const { spec, plan, models } = content;
  const files = {
    'config.json': prettyJson({
      ...hostConfig(sourceConfig),
      'transformers.js_config': transformersJsConfig(models.map(({ precision }) => precision)),
    }),
    'genai_config.json': prettyJson(genaiConfig(spec, sharesCacheBuffer(spec))),
    [CARD_FILE]: modelCard({
      spec,
      plan,
      models: models.map((model, index) => ({ ...describeModel(model, index), precision: model.precision })),
    }),
  };
  const tokenizerConfig = await readSmallJson(content.source, 'tokenizer_config.json', MAX_JSON_BYTES);
  if (tokenizerConfig === undefined) return files;
  const template = await readSmallText(content.source, 'chat_template.jinja', MAX_JSON_BYTES);
  return { ...files, 'tokenizer_config.json': prettyJson(portableTokenizerConfig(tokenizerConfig, template)) };
}

function describeModel({ graph, precision, rounding, calibratedOn }: FolderModel, index: number): ManifestModel {
  const { linear } = precision;
  const blocks = linear.kind === 'blocks' && { blockSize: linear.blockSize, symmetric: linear.symmetric };
  return {
    file: modelFileOf(precision, index),
    precision: precision.name as ManifestModel['precision'],
    ...(blocks && { blocks }),
    vocabulary: vocabularyOf(precision),
    ...(rounding && { rounding }),
    ...(calibratedOn && { calibratedOn: [...calibratedOn] }),
    ...(graph.functions.length > 0 && { operatorSet: OPERATOR_SET }),
    onnxruntime: oldestRuntime(graph),
  };
}

async function checkFile(path: string): Promise<WrittenFile> {
  const content = await readFile(path);
  return { path, bytes: content.length, crc32: checksumOf(content) };
}

function describe(folder: string, content: FolderContent, written: readonly WrittenFile[]): Manifest {
  // The same on every system: a folder may move.
  const pathOf = (path: string) => relative(folder, path).split(sep).join('/');
  const files = written.map((file) => ({ ...file, path: pathOf(file.path) }));
  const { spec, fingerprint, plan } = content;
  return {
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
    lacuna: LACUNA_VERSION,
    models: content.models.map(describeModel),
    spec: { ...spec, eosTokenIds: [...spec.eosTokenIds] },
    fingerprint,
    plan,
    files: files.sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

/**
 * The oldest ONNX Runtime that computes the graph correctly. Function bodies need 1.21, products of 8-bit blocks 1.22,
 * and looking up rows of blocks 1.23. Before 1.24, GroupQueryAttention counted one token too many in a sliding window.
 */
function oldestRuntime({ nodes: own, functions }: Graph): string {
  const nodes = [...own, ...functions.flatMap((one) => one.nodes)];
  const attributeAbove = (name: string, limit: number) =>
    nodes.some(({ attributes: { [name]: found } }) => found?.kind === 'int' && found.value > limit);
  if (attributeAbove('local_window_size', 0)) return '>=1.24';
  if (nodes.some(({ opType }) => opType === 'GatherBlockQuantized')) return '>=1.23';
  return attributeAbove('bits', 4) ? '>=1.22' : '>=1.21';
}

/** One of a folder's models. */
export interface ChosenModel {
  readonly manifest: Manifest;
  readonly model: ManifestModel;
  /** Path of its .onnx file. */
  readonly modelPath: string;
}

/** Version of our operators that a model calls; undefined for none. Folders of version 1 do not say it. */
export function calledOperators({ manifest: { plan }, model }: ChosenModel): number | undefined {
  // Plans of version 1 chose neurons or skipped blocks. What else a plan may do calls no operator of ours.
  const isGated = plan?.blocks.some(({ choice, skip }) => choice !== undefined || skip !== undefined) ?? false;
  return model.operatorSet ?? (isGated || model.blocks !== undefined ? 1 : undefined);
}

/** An open model folder: its manifest and the graph of one of its models. Weights are still on disk. */
export interface ModelFolder extends ModelFiles, ChosenModel {
  readonly graph: Graph;
}

/** Whether `path` is a folder that Lacuna wrote. */
export async function isModelFolder(path: string): Promise<boolean> {
  return exists(join(path, MANIFEST_FILE));
}

export async function readManifest(path: string): Promise<Manifest> {
  if (!(await exists(path)))
    throw new LacunaError('not-found', `There is no folder ${path}`, {
      hint: 'Give a folder made by lacuna convert, sparsify or build.',
    });
  if (!(await isModelFolder(path)))
    throw new LacunaError('not-found', `No ${MANIFEST_FILE} in ${path}: not a folder that Lacuna wrote`, {
      hint: `Convert the checkpoint first: lacuna convert ${path} -o DIR`,
    });
  const result = manifestSchema.safeParse((await readJsonObject(join(path, MANIFEST_FILE), MAX_JSON_BYTES)).value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new LacunaError('bad-file', `${join(path, MANIFEST_FILE)}: ${issue.path.join('.')}: ${issue.message}`, {
    hint: 'Make the folder again with this version of Lacuna.',
  });
}

/**
 * The model of the precision `dtype` in a folder, or the first. Throws `usage` when the folder holds no such model,
 * `bad-file` when it would end the process.
 */
export async function chooseModel(path: string, dtype?: string): Promise<ChosenModel> {
  const manifest = await readManifest(path);
  const { models } = manifest;
  const model = dtype === undefined ? models[0] : models.find(({ precision }) => precision === dtype);
  if (model === undefined) {
    const there = models.map(({ precision }) => precision).join(', ');
    throw new LacunaError('usage', `${path} holds no ${dtype} model, but ${there}`, {
      hint: 'Choose one of those; lacuna convert CHECKPOINT -o DIR --dtype NAMES makes a folder with others.',
    });
  }
  const modelPath = join(path, model.file);
  checkNumbers(await readNumbers(modelPath), modelPath);
  return { manifest, model, modelPath };
}

/** What to compare with: a model of another folder, or another precision of the same folder, or the same in another engine. */
export function baselineOf(compared: Compared) {
  const { folder, dtype, against, againstDtype, againstEngine, againstCache, againstAttended } = compared;
  if (against !== undefined) return { folder: against, dtype: againstDtype };
  const others = [againstDtype, againstEngine, againstCache, againstAttended];
  if (others.every((other) => other === undefined)) return undefined;
  return { folder, dtype: againstDtype ?? dtype };
}

interface Compared
  extends Partial<Record<'dtype' | 'against' | 'againstDtype' | 'againstEngine' | 'againstCache', string>> {
  readonly folder: string;
  readonly againstAttended?: number | undefined;
}

export async function openModelFolder(path: string, dtype?: string): Promise<ModelFolder> {
  const chosen = await chooseModel(path, dtype);
  return { ...(await openModelFiles(path)), ...chosen, graph: await readOnnx(chosen.modelPath) };
}
