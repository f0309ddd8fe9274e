/** What a command is given to work on: a checkpoint, or a folder converted before; both end in a dense graph. */
import { assemble, openModel, type UnreadTensors } from '../../../converters/index.ts';
import { openCheckpoint } from '../../../formats/checkpoint.ts';
import { mergeAdapter } from '../../../formats/lora/index.ts';
import type { Checkpoint, ModelFiles } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Graph } from '../../core/graph.ts';
import { hubOptions } from '../../core/hub.ts';
import type { ModelPieces, ModelSpec } from '../../core/model.ts';
import { type Given, path } from '../../core/options.ts';
import { leavesOut } from '../../core/plan.ts';
import { FLOATS, type Precision } from '../../core/precision.ts';
import type { JobOptions } from '../../core/progress.ts';
import { fetchCheckpoint, parseHubReference } from '../../hub/index.ts';
import { fuseSkipNorms } from '../../rewrite/index.ts';
import { flag, JOB } from '../options.ts';
import type { RoundedLayers } from '../rounding/rounding.ts';
import { isModelFolder, openModelFolder } from './model-folder.ts';
import { exists } from './output.ts';

export interface DenseModel extends ModelFiles {
  readonly spec: ModelSpec;
  readonly fingerprint: string;
  readonly graph: Graph;
  /** How the graph stores its weights. */
  readonly precision: Precision;
  /** How texts rounded them, if they did. */
  readonly rounded?: RoundedLayers | undefined;
}

/** How the checkpoint of a command is opened. */
export const SOURCE = {
  ...JOB,
  /** Takes weights that are NaN or infinite instead of refusing them. */
  allowNonFinite: flag,
  /** Where checkpoints come from that are given by name; without it only those that are here are opened. */
  hub: hubOptions,
  /** Folder of a LoRA adapter that is merged into the checkpoint's weights. */
  adapter: path,
};

export interface SourceOptions extends JobOptions, Given<typeof SOURCE> {}

/** `path` if it exists. Else, if it names a model on the Hub, the place of its download. */
export async function localPath(path: string, { hub, ...job }: SourceOptions): Promise<string> {
  const reference = hub === undefined || (await exists(path)) ? undefined : parseHubReference(path);
  return hub === undefined || reference === undefined ? path : fetchCheckpoint(reference, hub, job);
}

export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint;
  /** Its size in fp32. */
  readonly pieces: ModelPieces;
}

/** Opens a checkpoint and checks its config and every tensor's name, shape and dtype; no weight is read. */
export async function openPieces(given: string, options: SourceOptions): Promise<OpenedCheckpoint> {
  const checkpoint = await openSource(given, options);
  return { checkpoint, pieces: openModel(checkpoint, { precision: FLOATS }) };
}

/** The checkpoint that `given` means, with an adapter merged into it. It has not been checked against its config. */
export async function openSource(given: string, options: SourceOptions): Promise<Checkpoint> {
  const path = await checkpointPath(given, options);
  const { adapter, ...rest } = options;
  const checkpoint = await openCheckpoint(path, rest);
  return adapter === undefined ? checkpoint : mergeAdapter(checkpoint, adapter, rest);
}

/** A checkpoint, without weights that cannot be read: then `unread` names them, and the fault goes into `problems`. */
export async function openReadable(path: string, problems: LacunaError[], options: SourceOptions = {}) {
  let unread: UnreadTensors | undefined;
  const tolerate = (error: LacunaError, names: UnreadTensors) => {
    problems.push(error);
    unread = names;
  };
  return { checkpoint: await openCheckpoint(path, { ...options, tolerate }), unread };
}

/** As `localPath`, but 'unsupported' for a converted folder. */
export async function checkpointPath(given: string, options: SourceOptions): Promise<string> {
  const path = await localPath(given, options);
  if (await isModelFolder(path))
    throw new LacunaError('unsupported', `${path} is a converted folder; the checkpoint it was made from is wanted`, {
      hint: 'Give the folder with the safetensors files, or the GGUF file.',
    });
  return path;
}

/** The dense graph as it is written: pieces joined, residual adds fused into the norms that follow. */
export function denseGraph(pieces: ModelPieces): Graph {
  return fuseSkipNorms(assemble(pieces));
}

/**
 * The dense model of a checkpoint in a precision, or with blocks in precisions of their own; its weights rounded by texts if they
 * were.
 */
export function denseModel(
  checkpoint: Checkpoint,
  precision: Precision,
  rounded?: RoundedLayers,
  mix?: ReadonlyMap<string, Precision>,
): DenseModel {
  const pieces = openModel(checkpoint, {
    precision,
    mix,
    importance: rounded?.byWeight,
    rounded: rounded?.rounded,
  });
  const { path, files, fingerprint } = checkpoint;
  return { path, files, spec: pieces.spec, fingerprint, graph: denseGraph(pieces), precision, rounded };
}

/** The dense model of a converted folder. Throws `unsupported` where only a checkpoint will do, or a dense folder in fp32. */
export async function openDenseFolder(path: string, precision: Precision, adapter?: string): Promise<DenseModel> {
  if (precision.name !== FLOATS)
    throw new LacunaError('unsupported', `${path} is a converted folder; ${precision.name} is made of a checkpoint`, {
      hint: `Give the checkpoint with --dtype ${precision.name}, or the folder without.`,
    });
  if (adapter !== undefined)
    throw new LacunaError('unsupported', `${path} is a converted folder; an adapter is merged into a checkpoint`, {
      hint: 'Give the checkpoint with --adapter, or the folder without.',
    });
  // If a folder has several precisions, fp32 is the first.
  const { manifest, model, graph, files } = await openModelFolder(path);
  if (leavesOut(manifest.plan))
    throw new LacunaError('unsupported', `${path} is sparse already (preset ${manifest.plan.preset})`, {
      hint: 'Start from the checkpoint or from a dense folder: lacuna convert CHECKPOINT -o DIR',
    });
  if (model.precision !== FLOATS)
    throw new LacunaError('unsupported', `${path} is ${model.precision}: only ${FLOATS} models are made sparse`, {
      hint: `Start from the checkpoint or from an ${FLOATS} folder: lacuna convert CHECKPOINT -o DIR --dtype ${FLOATS}`,
    });
  return { path, files, spec: manifest.spec, fingerprint: manifest.fingerprint, graph, precision };
}
