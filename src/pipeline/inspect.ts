/** `lacuna inspect`: what a path holds, whatever stage of the pipeline it comes from. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type StatisticsSummary, summarise } from '../../calibrate/index.ts';
import { openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { storedBytes } from '../../formats/gguf/index.ts';
import { readJsonObject } from '../../formats/json-file.ts';
import { readOnnx } from '../../formats/onnx/index.ts';
import { readPlan } from '../../formats/plan.ts';
import { readStatistics, STATISTICS_FORMAT } from '../../formats/statistics.ts';
import { hasTokenizer } from '../core/checkpoint.ts';
import { byteLength, elementCount } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import type { Body, Graph, ValueInfo } from '../core/graph.ts';
import { LACUNA_DOMAIN } from '../core/graph.ts';
import { MANIFEST_FORMAT, type Manifest, type ManifestModel } from '../core/manifest.ts';
import type { ModelSpec } from '../core/model.ts';
import { PLAN_FORMAT, type Plan } from '../core/plan.ts';
import { storedIn } from '../core/tensor.ts';
import { isModelFolder, MAX_JSON_BYTES, openModelFolder } from './model-folder.ts';
import { localPath, type SourceOptions } from './source.ts';

export interface GraphSummary {
  readonly opsets: Readonly<Record<string, number>>;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Operators of the main graph, `domain.name` -> how many, most first. */
  readonly operators: Readonly<Record<string, number>>;
  readonly functions: readonly string[];
  readonly weightBytes: number;
}

export interface CheckpointSummary {
  readonly spec: ModelSpec | undefined;
  /** Why it cannot be converted, when it cannot. */
  readonly problem: string | undefined;
  readonly fingerprint: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly hasTokenizer: boolean;
}

export type Inspection =
  | { readonly kind: 'checkpoint'; readonly path: string; readonly checkpoint: CheckpointSummary }
  | {
      readonly kind: 'folder';
      readonly path: string;
      readonly manifest: Manifest;
      /** The one of the precision asked for, or the first. */
      readonly model: ManifestModel;
      readonly graph: GraphSummary;
    }
  | { readonly kind: 'onnx'; readonly path: string; readonly graph: GraphSummary }
  | { readonly kind: 'statistics'; readonly path: string; readonly summary: StatisticsSummary }
  | { readonly kind: 'plan'; readonly path: string; readonly plan: Plan };

export interface InspectOptions extends SourceOptions {
  /** Which of a folder's precisions. */
  readonly dtype?: string;
}

/** Reads headers only: no weight is loaded (but the model is downloaded, when `given` names one on the `hub`). */
export async function inspect(given: string, options: InspectOptions = {}): Promise<Inspection> {
  const path = await localPath(given, options);
  const info = await stat(path).catch((cause: unknown) => {
    throw new LacunaError('not-found', `Nothing at ${path}`, {
      cause,
      hint: 'Give a checkpoint, a model folder, a .onnx, statistics or plan file.',
    });
  });
  if (info.isDirectory())
    return (await isModelFolder(path)) ? inspectFolder(path, options.dtype) : inspectCheckpoint(path);
  if (path.endsWith('.onnx')) return { kind: 'onnx', path, graph: summariseGraph(await readOnnx(path)) };
  if (path.endsWith('.json')) return inspectJson(path, options.dtype);
  return inspectCheckpoint(path);
}

async function inspectFolder(path: string, dtype?: string): Promise<Inspection> {
  const { manifest, model, graph } = await openModelFolder(path, dtype);
  return { kind: 'folder', path, manifest, model, graph: summariseGraph(graph) };
}

async function inspectJson(path: string, dtype?: string): Promise<Inspection> {
  const { format } = (await readJsonObject(path, MAX_JSON_BYTES)).value;
  if (format === PLAN_FORMAT) return { kind: 'plan', path, plan: (await readPlan(path)).plan };
  if (format === STATISTICS_FORMAT) return { kind: 'statistics', path, summary: summarise(await readStatistics(path)) };
  if (format === MANIFEST_FORMAT) return inspectFolder(dirname(path), dtype);
  throw new LacunaError('bad-file', `${path} is neither statistics nor a plan`, {
    hint: 'Of a checkpoint or a model folder, give the folder.',
  });
}

async function inspectCheckpoint(path: string): Promise<Inspection> {
  const checkpoint = await openCheckpoint(path);
  const tensors = [...checkpoint.tensors.values()];
  const bytesByDtype: Record<string, number> = {};
  for (const stored of tensors.flatMap(storedIn)) {
    const type = stored.kind === 'ggml' ? stored.type : stored.dtype;
    bytesByDtype[type] = (bytesByDtype[type] ?? 0) + storedBytes(stored);
  }
  return {
    kind: 'checkpoint',
    path,
    checkpoint: {
      ...readSpec(() => openModel(checkpoint, { precision: 'fp32' }).spec),
      fingerprint: checkpoint.fingerprint,
      tensors: tensors.length,
      parameters: tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0),
      bytesByDtype,
      hasTokenizer: hasTokenizer(checkpoint),
    },
  };
}

/** A checkpoint that cannot be converted is still worth looking at: the reason is part of what it is. */
function readSpec(read: () => ModelSpec): Pick<CheckpointSummary, 'spec' | 'problem'> {
  try {
    return { spec: read(), problem: undefined };
  } catch (error) {
    if (error instanceof LacunaError) return { spec: undefined, problem: error.message };
    throw error;
  }
}

function summariseGraph(graph: Graph): GraphSummary {
  return {
    opsets: graph.opsets,
    inputs: graph.inputs,
    outputs: graph.outputs,
    operators: countOperators(graph),
    functions: graph.functions.filter(({ domain }) => domain === LACUNA_DOMAIN).map(({ name }) => name),
    weightBytes: graph.initializers.reduce((sum, { data }) => sum + byteLength(data.dtype, data.shape), 0),
  };
}

function countOperators(body: Body): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { domain, opType } of body.nodes) {
    const name = domain === '' ? opType : `${domain}.${opType}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a, m], [b, n]) => n - m || a.localeCompare(b)));
}
