/** `lacuna inspect`: what a path holds, from any stage of the pipeline. */
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type * as z from 'zod';
import { type StatisticsSummary, summarise } from '../../calibrate/index.ts';
import type { ModelLayout } from '../../converters/index.ts';
import { readJsonObject } from '../../formats/json-file.ts';
import { ADAPTER_CONFIG, type AdapterSummary, summariseAdapter } from '../../formats/lora/index.ts';
import { readOnnx } from '../../formats/onnx/index.ts';
import { readStatistics, readSums, STATISTICS_FORMAT } from '../../formats/statistics.ts';
import { LacunaError } from '../core/errors.ts';
import { MANIFEST_FORMAT, type Manifest, type ManifestModel } from '../core/manifest.ts';
import { checkArgument, optionsOf, path as pathSchema } from '../core/options.ts';
import { PLAN_FORMAT, type Plan } from '../core/plan.ts';
import { attemptAsync } from '../core/problems.ts';
import type { Statistics } from '../core/statistics.ts';
import { type HubSurvey, parseHubReference, surveyCheckpoint } from '../hub/index.ts';
import { type DecodeWork, decodeWork } from './folder/decode-work.ts';
import { isModelFolder, MAX_JSON_BYTES, openModelFolder } from './folder/model-folder.ts';
import { exists } from './folder/output.ts';
import { localPath, openReadable, SOURCE, type SourceOptions } from './folder/source.ts';
import {
  type CheckpointSummary,
  type ExtrasSummary,
  folderLayout,
  type GraphSummary,
  summariseCheckpoint,
  summariseExtras,
  summariseGraph,
} from './folder/summaries.ts';
import { count, flag, precision } from './options.ts';
import { openPlan } from './plan.ts';
import { folderVerdict } from './report/folder.ts';

export type { AdapterSummary } from '../../formats/lora/index.ts';
export type { DecodeWork } from './folder/decode-work.ts';
export type { CheckpointSummary, GraphSummary } from './folder/summaries.ts';

/** What a path holds. If it cannot be converted or merged, all reasons. */
export type Inspection = Found & { readonly problems: readonly string[] };

type Found =
  | { readonly kind: 'checkpoint'; readonly path: string; readonly checkpoint: CheckpointSummary }
  | ({
      readonly kind: 'folder';
      readonly path: string;
      /** What was measured of it, in one sentence, or that its figures cannot be read; null where nothing was. */
      readonly verdict: string | null;
      readonly manifest: Manifest;
      /** The model of the precision asked for, or the first. */
      readonly model: ManifestModel;
      readonly graph: GraphSummary;
      /** What decoding a token costs; undefined where an operator of the graph is not sound. */
      readonly decode: DecodeWork | undefined;
      /** Undefined if config.json no longer says how the model is built. */
      readonly layout: ModelLayout | undefined;
    } & ExtrasSummary)
  | { readonly kind: 'adapter'; readonly path: string; readonly adapter: AdapterSummary }
  | ({ readonly kind: 'hub'; readonly path: string } & HubSurvey)
  | { readonly kind: 'onnx'; readonly path: string; readonly graph: GraphSummary }
  | ({
      readonly kind: 'statistics';
      readonly path: string;
      readonly summary: StatisticsSummary;
    } & Pick<Statistics, 'model' | 'texts'>)
  | { readonly kind: 'plan'; readonly path: string; readonly plan: Plan };

/**
 * `cachedTokens`: tokens before the one whose operations are counted; 4,096 by default, or what the context has room for.
 * `dtype`: which of a folder's precisions. `download: false`: of a model that is named on the Hub, only what there is to download; true
 * by default.
 */
export const inspectOptions = optionsOf({}, { ...SOURCE, dtype: precision, download: flag, cachedTokens: count });

export interface InspectOptions extends SourceOptions, z.infer<typeof inspectOptions> {}

/**
 * What a path holds: a checkpoint, an adapter, a model folder, a .onnx, statistics or plan file. No weight is read (but the model is
 * downloaded, when `path` names one on the `hub`).
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const given = checkArgument(pathSchema, path, { of: 'inspect', name: 'path' });
  const { dtype, download = true, cachedTokens, ...source } = checkArgument(inspectOptions, options, { of: 'inspect' });
  const remote = download ? undefined : await surveyPath(given, source);
  const found = remote ?? (await find(await localPath(given, source), { dtype, cachedTokens }));
  return { ...found, problems: problemsOf(found) };
}

/** A model on the Hub; undefined where `path` is here, or names none. */
async function surveyPath(path: string, { hub, ...job }: SourceOptions): Promise<Found | undefined> {
  const reference = hub === undefined || (await exists(path)) ? undefined : parseHubReference(path);
  if (hub === undefined || reference === undefined) return undefined;
  return { kind: 'hub', path, ...(await surveyCheckpoint(reference, hub, job)) };
}

function problemsOf(found: Found): readonly string[] {
  if (found.kind === 'checkpoint') return found.checkpoint.problems;
  return found.kind === 'adapter' && found.adapter.problem !== undefined ? [found.adapter.problem] : [];
}

/** Of a folder. */
type FolderOptions = Pick<InspectOptions, 'dtype' | 'cachedTokens'>;

async function find(path: string, options: FolderOptions): Promise<Found> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new LacunaError('not-found', `Nothing at ${path}`, {
      cause,
      hint: 'Give a checkpoint, an adapter, a model folder, a .onnx, statistics or plan file.',
    });
  });
  if (info.isDirectory()) return inspectDirectory(path, options);
  if (path.endsWith('.onnx')) return { kind: 'onnx', path, graph: summariseGraph(await readOnnx(path)) };
  if (path.endsWith('.json')) return inspectJson(path, options);
  return inspectCheckpoint(path);
}

async function inspectDirectory(path: string, options: FolderOptions): Promise<Found> {
  if (await isModelFolder(path)) return inspectFolder(path, options);
  // A folder may hold a merged model beside its adapter.
  const isAdapter = (await exists(join(path, ADAPTER_CONFIG))) && !(await exists(join(path, 'config.json')));
  if (!isAdapter) return inspectCheckpoint(path);
  return { kind: 'adapter', path, adapter: await summariseAdapter(path) };
}

async function inspectFolder(path: string, { dtype, cachedTokens }: FolderOptions): Promise<Found> {
  const { manifest, model, graph, files } = await openModelFolder(path, dtype);
  const folder = { path, files };
  const layout = await folderLayout(folder, manifest.fingerprint);
  const extras = await summariseExtras(folder);
  const verdict = await folderVerdict(path);
  const before = cachedTokens ?? Math.min(USUAL_CACHED_TOKENS, manifest.spec.contextLength - 1);
  const decode = await attemptAsync([], () => decodeWork(graph, before, manifest.plan));
  return { kind: 'folder', path, verdict, manifest, model, graph: summariseGraph(graph), decode, layout, ...extras };
}

const USUAL_CACHED_TOKENS = 4096;

async function inspectJson(path: string, options: FolderOptions): Promise<Found> {
  const { format } = (await readJsonObject(path, MAX_JSON_BYTES)).value;
  if (format === PLAN_FORMAT) return { kind: 'plan', path, plan: (await openPlan(path)).plan };
  if (format === STATISTICS_FORMAT) {
    const statistics = await readStatistics(path);
    const { model, texts } = statistics;
    return { kind: 'statistics', path, model, texts, summary: await summarise(statistics, readSums) };
  }
  if (format === MANIFEST_FORMAT) return inspectFolder(dirname(path), options);
  throw new LacunaError('bad-file', `${path} is neither statistics nor a plan`, {
    hint: 'Of a checkpoint or a model folder, give the folder.',
  });
}

async function inspectCheckpoint(path: string): Promise<Found> {
  const problems: LacunaError[] = [];
  const { checkpoint, unread } = await openReadable(path, problems);
  return { kind: 'checkpoint', path, checkpoint: await summariseCheckpoint(checkpoint, problems, unread) };
}
