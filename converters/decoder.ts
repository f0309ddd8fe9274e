/** Decoders built like LLaMA, from checkpoint to pieces: embedding, equal layers, norm and head. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { LacunaError } from '../src/core/errors.ts';
import type { Graph, Initializer, ValueInfo } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { EMBEDDING_WEIGHT, HEAD_TAP, HEAD_WEIGHT, hiddenName, type ModelPieces } from '../src/core/model.ts';
import { choosePrecision, FLOATS } from '../src/core/precision.ts';
import { attempt } from '../src/core/problems.ts';
import { addConstant, cast } from '../src/core/tensor.ts';
import type { Architecture } from './architecture.ts';
import { cacheInputs, cacheOutputs } from './blocks/attention.ts';
import { preNormLayer, sandwichNormLayer } from './blocks/decoder-layer.ts';
import { embedding } from './blocks/embedding.ts';
import { head } from './blocks/head.ts';
import type { DecoderParts, Floats } from './blocks/parts.ts';
import { rmsNorm, streamEpsilon } from './blocks/rms-norm.ts';
import { partTables, rotaryTables } from './blocks/rotary.ts';
import {
  type DecoderConfig,
  type DecoderConfigSurvey,
  type Family,
  settledConfig,
  surveyDecoderConfig,
} from './config/decoder-config.ts';
import { layoutOf } from './layout.ts';
import {
  checkImportance,
  checkTensors,
  decoderTensors,
  type ExpectedTensor,
  type Ignores,
  type Importance,
  type StorageOptions,
  weightsOf,
} from './weights.ts';

/** How models of an architecture are built. */
export interface Decoder<Config extends DecoderConfig> {
  readonly modelType: string;
  readonly className: string;
  /** The config, as far as it can be read, and everything that is wrong with it. */
  readonly survey: (checkpoint: Checkpoint) => DecoderConfigSurvey<Config>;
  readonly tensors: (config: Config) => readonly ExpectedTensor[];
  /** Further tensors that a checkpoint may have. */
  readonly ignores?: (config: Config) => Ignores;
  /** The factor of the residual stream. See `streamScaleOf`. */
  readonly streamScale: (config: Config, floats: Floats) => number;
  readonly embed: (parts: DecoderParts<Config>) => Graph;
  readonly layer: (parts: DecoderParts<Config>, index: number) => Graph;
  readonly head: (parts: DecoderParts<Config>) => Graph;
}

/** An architecture that differs from the others only in what `family` says. */
export function decoderArchitecture(family: Family): Architecture {
  return architectureOf({
    modelType: family.modelType,
    className: family.className,
    survey: (checkpoint) => surveyDecoderConfig(checkpoint, family),
    tensors: decoderTensors,
    streamScale: streamScaleOf,
    embed: embedPiece,
    layer: layerPiece,
    head: headPiece,
  });
}

export function architectureOf<Config extends DecoderConfig>(decoder: Decoder<Config>): Architecture {
  const { modelType, className, survey, tensors, ignores = () => () => false } = decoder;
  const read = (checkpoint: Checkpoint) => settledConfig(survey(checkpoint));
  const open = (checkpoint: Checkpoint, storage: StorageOptions): ModelPieces => {
    const config = read(checkpoint);
    checkParts(config, checkpoint, storage);
    checkTensors(checkpoint, tensors(config), { ignores: ignores(config) });
    const importance = storage.importance && ofStored(storage.importance, config);
    if (importance !== undefined) checkImportance(checkpoint, importance);
    const parts = partsOf(config, checkpoint, { ...storage, importance }, decoder.streamScale);
    return {
      spec: config.spec,
      embed: () => decoder.embed(parts),
      layer: (index) => decoder.layer(parts, index),
      head: () => decoder.head(parts),
      weight: (name) => parts.weights(name).data,
    };
  };
  const layout: Architecture['layout'] = (checkpoint) => {
    const config = read(checkpoint);
    return layoutOf(config, tensors(config));
  };
  const problems: Architecture['problems'] = (checkpoint, unread) => {
    const { config, problems: found } = survey(checkpoint);
    const all = [...found];
    if (config !== undefined && unread !== 'all')
      attempt(all, () => checkTensors(checkpoint, tensors(config), { unread, ignores: ignores(config) }));
    return all;
  };
  return { modelType, className, open, problems, layout };
}

/** Refuses blocks that the two parts of an FFN's input would share. */
function checkParts({ gateInputs, spec }: DecoderConfig, { path }: Checkpoint, storage: StorageOptions): void {
  if (gateInputs === undefined) return;
  const isWhole = (size: number) => gateInputs % size === 0 && (spec.hiddenSize - gateInputs) % size === 0;
  for (const { name, linear } of [storage.precision, ...(storage.mix?.values() ?? [])])
    if (linear.kind === 'blocks' && !isWhole(linear.blockSize))
      throw new LacunaError(
        'unsupported',
        `${path} cannot be in ${name}: its FFNs' gates read ${gateInputs} of ${spec.hiddenSize} entries, and both parts ` +
          `would have to be multiples of ${linear.blockSize}`,
        { hint: 'Convert it to floats: --dtype fp32, fp16 or bf16.' },
      );
}

/** Importances by the names in the checkpoint. A head that is the embedding has no weight of its own. */
function ofStored(importance: Importance, { sharesHead }: DecoderConfig): Importance {
  const head = importance.get(HEAD_WEIGHT);
  if (!sharesHead || head === undefined) return importance;
  const layers = [...importance].filter(([name]) => name !== HEAD_WEIGHT);
  return new Map([...layers, [EMBEDDING_WEIGHT, head]]);
}

function partsOf<Config extends DecoderConfig>(
  config: Config,
  { tensors }: Checkpoint,
  storage: StorageOptions,
  streamScale: Decoder<Config>['streamScale'],
): DecoderParts<Config> {
  const { spec, ropes, traits } = config;
  const { floats } = storage.precision;
  const weights = weightsOf(tensors, storage);
  return {
    config,
    floats,
    weights,
    streamScale: streamScale(config, floats),
    normWeights: traits.addsOneToNorms ? plusOne(tensors, floats) : weights,
    rotary: (name) => rotaryTables(ropes[name], spec.headDim, spec.contextLength),
    partRotary: (name, width) => partTables(ropes[name], width, spec.contextLength),
  };
}

/**
 * Gemma 3's residual stream grows beyond the largest float16 (104,000 in the 270M model). If all that is added to it is
 * normed before, the whole stream can be made smaller by a power of two, which is exact: in the embeddings and in those
 * norms' weights. The norms that read it compensate: their epsilon is multiplied by its square.
 */
function streamScaleOf({ traits }: DecoderConfig, floats: Floats): number {
  return floats === 'float16' && traits.normsOutputs ? FLOAT16_STREAM_SCALE : 1;
}

/** Leaves room for a stream of a million, and sixteen bits below 1 before float16 loses precision. */
const FLOAT16_STREAM_SCALE = 1 / 16;

/** 1 + weight, rounded once. */
function plusOne(tensors: Checkpoint['tensors'], floats: Floats): (name: string) => Initializer {
  const exact = weightsOf(tensors, { precision: choosePrecision(FLOATS) });
  return (name) => ({ name, data: cast(addConstant(exact(name).data, 1), floats) });
}

function embedPiece({ config, weights, floats, streamScale }: DecoderParts): Graph {
  const { spec, traits } = config;
  const g = new GraphBuilder('embed');
  // Transformers rounds the root to the type that it computes in, and so does the block.
  const scale = (traits.scalesEmbeddings ? Math.sqrt(spec.hiddenSize) : 1) * streamScale;
  embedding(g, weights(EMBEDDING_WEIGHT), scale === 1 ? undefined : scale);
  const inputs = [
    value('input_ids', 'int64', ['batch_size', 'sequence_length']),
    value('attention_mask', 'int64', ['batch_size', 'total_sequence_length']),
  ];
  const positionIds = value('position_ids', 'int64', ['batch_size', 'sequence_length']);
  return g.graph(inputs, [hidden(0, spec.hiddenSize, floats), ...rowLengths(), positionIds]);
}

function layerPiece(parts: DecoderParts, index: number): Graph {
  const { floats } = parts;
  const { spec, traits } = parts.config;
  const g = new GraphBuilder(`layers.${index}`);
  const layer = traits.normsOutputs ? sandwichNormLayer : preNormLayer;
  layer(g, index, parts);
  return g.graph(
    [hidden(index, spec.hiddenSize, floats), ...rowLengths(), ...cacheInputs(index, spec, floats)],
    [hidden(index + 1, spec.hiddenSize, floats), ...cacheOutputs(index, spec, floats)],
  );
}

function headPiece(parts: DecoderParts): Graph {
  const { config, weights, normWeights, floats } = parts;
  const { spec, logitSoftcap } = config;
  const g = new GraphBuilder('head');
  const last = hiddenName(spec.numHiddenLayers);
  const normed = rmsNorm(g, last, normWeights('model.norm.weight'), streamEpsilon(parts), HEAD_TAP);
  head(g, normed, weights(config.sharesHead ? EMBEDDING_WEIGHT : HEAD_WEIGHT), logitSoftcap);
  const logits = value('logits', 'float32', ['batch_size', 'sequence_length', spec.vocabSize]);
  return g.graph([hidden(spec.numHiddenLayers, spec.hiddenSize, floats)], [logits]);
}

function hidden(index: number, hiddenSize: number, floats: Floats): ValueInfo {
  return value(hiddenName(index), floats, ['batch_size', 'sequence_length', hiddenSize]);
}

/** Inputs of GroupQueryAttention in every layer, made by the embed piece. */
export function rowLengths(): ValueInfo[] {
  return [value('seqlens_k', 'int32', ['batch_size']), value('total_sequence_length', 'int32', [])];
}
