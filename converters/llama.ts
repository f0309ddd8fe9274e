/** LLaMA 1 to 3.2 and what was trained in its image (SmolLM2, TinyLlama): pre-norm attention and gated FFN. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { BASE_OPSETS, type Graph, type ValueInfo } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import { hiddenName, type ModelPieces, tapName } from '../src/core/model.ts';
import type { Precision } from '../src/core/precision.ts';
import type { Architecture } from './architecture.ts';
import { attention, cacheInputs, cacheOutputs } from './blocks/attention.ts';
import { embedding } from './blocks/embedding.ts';
import { gatedMlp } from './blocks/gated-mlp.ts';
import { head } from './blocks/head.ts';
import { rmsNorm } from './blocks/rms-norm.ts';
import { lazyRotaryTables, type RotaryTables } from './blocks/rotary.ts';
import { type DecoderConfig, type Family, readDecoderConfig } from './config/decoder-config.ts';
import { checkTensors, decoderTensors, type StorageOptions, type Weights, weightsOf } from './weights.ts';

export const llama: Architecture = llamaFamily({
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  defaults: { max_position_embeddings: 2048 },
  lacks: ['sliding_window'],
});

/** An architecture whose blocks are LLaMA's and whose config differs only in what `family` says. */
export function llamaFamily(family: Family): Architecture {
  const open = (checkpoint: Checkpoint, storage: StorageOptions): ModelPieces => {
    const config = readDecoderConfig(checkpoint, family);
    checkTensors(checkpoint, decoderTensors(config));
    return llamaPieces(config, weightsOf(checkpoint.tensors, storage), storage.precision.floats);
  };
  return { modelType: family.modelType, className: family.className, open };
}

/** Type of the residual stream and the caches. */
type Floats = Precision['floats'];

function llamaPieces(config: DecoderConfig, weights: Weights, floats: Floats): ModelPieces {
  const { spec } = config;
  const rotaryTables = lazyRotaryTables(config.rope, spec.headDim, spec.contextLength);
  return {
    spec,
    embed: () => embedPiece(config, weights, floats),
    layer: (index) => layerPiece(config, weights, rotaryTables(), index, floats),
    head: () => headPiece(config, weights, floats),
  };
}

function embedPiece({ spec }: DecoderConfig, weights: Weights, floats: Floats): Graph {
  const g = new GraphBuilder('embed');
  embedding(g, weights('model.embed_tokens.weight'));
  const inputs = [
    value('input_ids', 'int64', ['batch_size', 'sequence_length']),
    value('attention_mask', 'int64', ['batch_size', 'total_sequence_length']),
  ];
  const positionIds = value('position_ids', 'int64', ['batch_size', 'sequence_length']);
  return piece(g, inputs, [hidden(0, spec.hiddenSize, floats), ...rowLengths(), positionIds]);
}

/** x + attention(norm x), then x + FFN(norm x). */
function layerPiece(
  config: DecoderConfig,
  weights: Weights,
  rotary: RotaryTables,
  index: number,
  floats: Floats,
): Graph {
  const { spec, rmsNormEps } = config;
  const prefix = `model.layers.${index}`;
  const g = new GraphBuilder(`layers.${index}`);
  const input = hiddenName(index);
  const attnIn = rmsNorm(g, input, weights(`${prefix}.input_layernorm.weight`), rmsNormEps, tapName(index, 'attn_in'));
  const attnOut = attention(g, attnIn, index, config, weights, rotary);
  const residual = g.op('Add', [input, attnOut], { outputs: [tapName(index, 'ffn_residual')] });
  const norm = weights(`${prefix}.post_attention_layernorm.weight`);
  const ffnOut = gatedMlp(g, rmsNorm(g, residual, norm, rmsNormEps, tapName(index, 'ffn_in')), index, config, weights);
  g.op('Add', [residual, ffnOut], { outputs: [hiddenName(index + 1)] });
  return piece(
    g,
    [hidden(index, spec.hiddenSize, floats), ...rowLengths(), ...cacheInputs(index, spec, floats)],
    [hidden(index + 1, spec.hiddenSize, floats), ...cacheOutputs(index, spec, floats)],
  );
}

function headPiece(config: DecoderConfig, weights: Weights, floats: Floats): Graph {
  const { spec, rmsNormEps } = config;
  const g = new GraphBuilder('head');
  const normed = rmsNorm(g, hiddenName(spec.numHiddenLayers), weights('model.norm.weight'), rmsNormEps);
  head(g, normed, weights(config.sharesHead ? 'model.embed_tokens.weight' : 'lm_head.weight'));
  const logits = value('logits', 'float32', ['batch_size', 'sequence_length', spec.vocabSize]);
  return piece(g, [hidden(spec.numHiddenLayers, spec.hiddenSize, floats)], [logits]);
}

function hidden(index: number, hiddenSize: number, floats: Floats): ValueInfo {
  return value(hiddenName(index), floats, ['batch_size', 'sequence_length', hiddenSize]);
}

/** What GroupQueryAttention asks of every layer; made by the embed piece. */
function rowLengths(): ValueInfo[] {
  return [value('seqlens_k', 'int32', ['batch_size']), value('total_sequence_length', 'int32', [])];
}

function piece(g: GraphBuilder, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Graph {
  return { ...g.body(g.scope, inputs, outputs), functions: [], opsets: BASE_OPSETS, metadata: {} };
}
