/** What `inspect` says about checkpoints, graphs and folders. It reads headers and configs, and no weight. */
import {
  type ModelLayout,
  modelLayout,
  modelProblems,
  openModel,
  sumByKind,
  type UnreadTensors,
  type WeightKind,
  weightKind,
} from '../../../converters/index.ts';
import { readSmallJson } from '../../../formats/small-files.ts';
import { hasChatTemplate } from '../../../formats/tokenizer/index.ts';
import { type Checkpoint, hasTokenizer, type ModelFiles } from '../../core/checkpoint.ts';
import { byteLength, elementCount } from '../../core/dtype.ts';
import type { LacunaError } from '../../core/errors.ts';
import { sumBy } from '../../core/figures.ts';
import { type Graph, type Initializer, LACUNA_DOMAIN } from '../../core/graph.ts';
import type { ModelSpec } from '../../core/model.ts';
import { FLOATS } from '../../core/precision.ts';
import { attempt } from '../../core/problems.ts';
import { storedIn } from '../../core/tensor.ts';
import { storedBytes } from '../../quantize/ggml/types.ts';
import { MAX_JSON_BYTES } from './model-folder.ts';

/** Bytes by what they are for, and by how they are stored. */
interface BytesSummary {
  readonly bytesByKind: Readonly<Record<WeightKind, number>>;
  readonly bytesByDtype: Readonly<Record<string, number>>;
}

export interface GraphSummary extends BytesSummary, Pick<Graph, 'opsets' | 'inputs' | 'outputs'> {
  /** Operators of the main graph, `domain.name` -> count, largest count first. */
  readonly operators: Readonly<Record<string, number>>;
  readonly functions: readonly string[];
  /** Data that several initializers share counts once, for the first of them. */
  readonly weightBytes: number;
}

/** Other files and facts of a model. */
export interface ExtrasSummary {
  readonly hasTokenizer: boolean;
  readonly hasChatTemplate: boolean;
}

export interface CheckpointSummary extends ExtrasSummary, BytesSummary {
  readonly spec: ModelSpec | undefined;
  /** How its layers are built; undefined if `spec` is. */
  readonly layout: ModelLayout | undefined;
  /** All reasons why it cannot be converted, if there are any. */
  readonly problems: readonly string[];
  readonly fingerprint: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly parametersByKind: Readonly<Record<WeightKind, number>>;
}

/** `opening` and `unread` are problems of opening it: weights that are missing or damaged. */
export async function summariseCheckpoint(
  checkpoint: Checkpoint,
  opening: readonly LacunaError[],
  unread: UnreadTensors | undefined,
): Promise<CheckpointSummary> {
  const tensors = [...checkpoint.tensors];
  const stored = tensors.flatMap(([name, tensor]) => storedIn(tensor).map((one) => ({ name, one })));
  const parameters = tensors.map(([name, { shape }]) => [weightKind(name), elementCount(shape)] as const);
  const problems = [...opening, ...modelProblems(checkpoint, unread)];
  const fits = problems.length === 0;
  return {
    spec: fits ? openModel(checkpoint, { precision: FLOATS }).spec : undefined,
    layout: fits ? modelLayout(checkpoint) : undefined,
    problems: problems.map(({ message }) => message),
    fingerprint: checkpoint.fingerprint,
    tensors: tensors.length,
    parameters: parameters.reduce((sum, [, count]) => sum + count, 0),
    parametersByKind: sumByKind(parameters),
    bytesByKind: sumByKind(stored.map(({ name, one }) => [weightKind(name), storedBytes(one)])),
    bytesByDtype: sumBy(stored.map(({ one }) => [one.kind === 'ggml' ? one.type : one.dtype, storedBytes(one)])),
    ...(await summariseExtras(checkpoint)),
  };
}

export async function summariseExtras(model: ModelFiles): Promise<ExtrasSummary> {
  return { hasTokenizer: hasTokenizer(model), hasChatTemplate: await hasChatTemplate(model) };
}

/** How the model in a converted folder is built; undefined if its config.json was changed and cannot be read. */
export async function folderLayout(folder: ModelFiles, fingerprint: string): Promise<ModelLayout | undefined> {
  const config = (await readSmallJson(folder, 'config.json', MAX_JSON_BYTES)) ?? {};
  const generationConfig = await readSmallJson(folder, 'generation_config.json', MAX_JSON_BYTES);
  const unread: LacunaError[] = [];
  return attempt(unread, () => modelLayout({ ...folder, config, generationConfig, tensors: new Map(), fingerprint }));
}

export function summariseGraph(graph: Graph): GraphSummary {
  const stored = storedOnce(graph.initializers).map(({ name, data: { dtype, shape } }) => {
    return { kind: weightKind(name), dtype, bytes: byteLength(dtype, shape) };
  });
  return {
    opsets: graph.opsets,
    inputs: graph.inputs,
    outputs: graph.outputs,
    operators: countOperators(graph),
    functions: graph.functions.filter(({ domain }) => domain === LACUNA_DOMAIN).map(({ name }) => name),
    weightBytes: stored.reduce((sum, { bytes }) => sum + bytes, 0),
    bytesByKind: sumByKind(stored.map(({ kind, bytes }) => [kind, bytes])),
    bytesByDtype: sumBy(stored.map(({ dtype, bytes }) => [dtype, bytes])),
  };
}

/** The first initializer of each range of a file: a tied head and its embedding may be two views of one range. */
function storedOnce(initializers: readonly Initializer[]): Initializer[] {
  const ranges = new Set<string>();
  return initializers.filter(({ data }) => {
    if (data.kind !== 'file') return true;
    const range = JSON.stringify([data.path, data.byteOffset]);
    const isNew = !ranges.has(range);
    ranges.add(range);
    return isNew;
  });
}

function countOperators({ nodes }: Graph): Record<string, number> {
  const counts = sumBy(nodes.map(({ domain, opType }) => [domain === '' ? opType : `${domain}.${opType}`, 1]));
  return Object.fromEntries(Object.entries(counts).sort(([a, m], [b, n]) => n - m || a.localeCompare(b)));
}
