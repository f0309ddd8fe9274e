/** A checkpoint written once in every precision that its blocks may have, so that any mix of them is opened at once. */
import { openModel } from '../../../converters/index.ts';
import { encodeReferencing } from '../../../formats/onnx/index.ts';
import type { Checkpoint } from '../../core/checkpoint.ts';
import type { Graph, Initializer } from '../../core/graph.ts';
import { blockOfWeight } from '../../core/model.ts';
import type { Precision } from '../../core/precision.ts';
import type { Session } from '../../core/session.ts';
import { fuseDecoderParts } from '../../rewrite/index.ts';
import { openSession } from '../../runtime/index.ts';
import { contentOf, openModels } from '../convert.ts';
import type { MeasuringJob } from '../engine/measured-session.ts';
import { openModelFolder, writeModelFolder } from '../folder/model-folder.ts';
import { denseGraph } from '../folder/source.ts';
import { type RoundedLayers, turnablesOf } from '../rounding/rounding.ts';

/** By the block's name. Blocks that it does not name have the workbench's first precision. */
export type BlockMix = ReadonlyMap<string, Precision>;

export interface Workbench {
  readonly checkpoint: Checkpoint;
  /** The first is that of embedding and head. */
  readonly precisions: readonly Precision[];
  readonly rounded: RoundedLayers | undefined;
  /** A folder with one model for each precision. */
  readonly folder: string;
}

/** Writes the folder. */
export async function writeWorkbench(
  { checkpoint, precisions, rounded, folder }: Workbench,
  options: MeasuringJob,
): Promise<void> {
  await writeModelFolder(folder, contentOf(checkpoint, openModels(checkpoint, precisions, rounded)), options);
}

/** Opens mixes of what the folder holds. */
export async function openWorkbench({ checkpoint, precisions, rounded, folder }: Workbench, options: MeasuringJob) {
  const [base] = precisions;
  const written = new Map<string, ReadonlyMap<string, Initializer['data']>>();
  for (const { name } of precisions) {
    const { graph } = await openModelFolder(folder, name);
    written.set(name, new Map(graph.initializers.map((one) => [one.name, one.data])));
  }
  const { modelPath } = await openModelFolder(folder, base.name);
  const onDisk = ({ name, data }: Initializer, mix: BlockMix): Initializer => {
    // Of an FFN that chooses its neurons, weights have the name of the block.
    const block = blockOfWeight(name) ?? /^layers\.\d+\.ffn(?=\.)/.exec(name)?.[0];
    const precision = mix.get(block ?? '') ?? base;
    const there = written.get(precision.name)?.get(name);
    return there?.kind === 'file' ? { name, data: there } : { name, data };
  };
  return async (mix: BlockMix): Promise<Session> => {
    const pieces = openModel(checkpoint, { precision: base, mix, rounded: rounded?.rounded });
    const graph: Graph = fuseDecoderParts(denseGraph(pieces), turnablesOf(mix, rounded, base));
    const initializers = graph.initializers.map((one) => onDisk(one, mix));
    return openSession(await encodeReferencing({ ...graph, initializers }, modelPath), options);
  };
}
