/** What a command is given to work on: a checkpoint, or a folder converted before; both end in a dense graph. */

import { assemble, openModel } from '../../converters/index.ts';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { readSafetensors } from '../../formats/safetensors/index.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { LacunaError } from '../core/errors.ts';
import type { Graph } from '../core/graph.ts';
import type { ModelPieces, ModelSpec } from '../core/model.ts';
import type { Precision } from '../core/precision.ts';
import { fuseSkipNorms } from '../rewrite/index.ts';
import { isModelFolder, openModelFolder } from './model-folder.ts';

export interface DenseModel {
  readonly path: string;
  readonly spec: ModelSpec;
  readonly fingerprint: string;
  readonly graph: Graph;
}

export interface OpenOptions {
  readonly allowNonFinite?: boolean;
}

export interface OpenPiecesOptions extends OpenOptions {
  readonly precision?: Precision;
  /** safetensors: by the weight's name, the mean square of each of its inputs. */
  readonly importance?: string;
}

export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly pieces: ModelPieces;
}

/** Opens a checkpoint and checks its config and every tensor's name, shape and dtype; no weight is read. */
export async function openPieces(path: string, options: OpenPiecesOptions = {}): Promise<OpenedCheckpoint> {
  const checkpoint = await openCheckpoint(path, options);
  const importance = options.importance === undefined ? undefined : (await readSafetensors(options.importance)).tensors;
  return { checkpoint, pieces: openModel(checkpoint, { precision: options.precision ?? 'fp32', importance }) };
}

/** The dense graph as it is written: pieces assembled, residual adds fused into the norms that follow. */
export function denseGraph(pieces: ModelPieces): Graph {
  return fuseSkipNorms(assemble(pieces));
}

/** The dense model behind a checkpoint or a converted folder. */
export async function openDense(path: string, options: OpenOptions = {}): Promise<DenseModel> {
  if (!(await isModelFolder(path))) {
    const { checkpoint, pieces } = await openPieces(path, options);
    return { path, spec: pieces.spec, fingerprint: checkpoint.fingerprint, graph: denseGraph(pieces) };
  }
  const { manifest, graph } = await openModelFolder(path);
  if (manifest.plan !== null) {
    throw new LacunaError('unsupported', `${path} is sparse already (preset ${manifest.plan.preset})`, {
      hint: 'Start from the checkpoint or from a dense folder: lacuna convert CHECKPOINT -o DIR',
    });
  }
  if (manifest.precision !== 'fp32') {
    throw new LacunaError('unsupported', `${path} is ${manifest.precision}: only fp32 models are made sparse`, {
      hint: 'Start from the checkpoint or from an fp32 folder: lacuna convert CHECKPOINT -o DIR --dtype fp32',
    });
  }
  return { path, spec: manifest.spec, fingerprint: manifest.fingerprint, graph };
}
