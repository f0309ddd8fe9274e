/**
 * Gemma 3n's text model: Gemma 3 with four residual streams (AltUp), low-rank residuals (LAuReL), a second embedding
 * with a part for each layer, layers that read the keys and values of others, and FFNs that were trained to be sparse.
 */
import type { Graph } from '../src/core/graph.ts';
import { oneOfEachName } from '../src/core/graph.ts';
import { GraphBuilder, value } from '../src/core/graph-builder.ts';
import {
  EMBEDDING_WEIGHT,
  HEAD_TAP,
  HEAD_WEIGHT,
  hiddenName,
  PER_LAYER_EMBEDDING_WEIGHT,
  tapName,
} from '../src/core/model.ts';
import { cast, float32Tensor } from '../src/core/tensor.ts';
import {
  activeStream,
  addToOthers,
  collapseStreams,
  correctStreams,
  expandStreams,
  type Gemma3nParts,
  predictStreams,
} from './blocks/altup.ts';
import { attention, cacheInputs, cacheOutputs } from './blocks/attention.ts';
import { layerNorm, toStreamNorm } from './blocks/decoder-layer.ts';
import { lookUpScaled, rowPositions } from './blocks/embedding.ts';
import { gatedMlp } from './blocks/gated-mlp.ts';
import { head } from './blocks/head.ts';
import { gatedPerLayerInput, perLayerInput, perLayerInputs } from './blocks/per-layer-input.ts';
import { linear } from './blocks/product.ts';
import { rmsNorm } from './blocks/rms-norm.ts';
import { shareCache, sharedAttention, sharedInputs, sharedMasks, sharedOutputs } from './blocks/shared-attention.ts';
import { attentionBiases } from './config/biases.ts';
import type { Family } from './config/decoder-config.ts';
import { type Gemma3nConfig, surveyGemma3nConfig } from './config/gemma3n-config.ts';
import { fullEvery } from './config/layer-kinds.ts';
import { architectureOf, rowLengths } from './decoder.ts';
import { readRopes } from './gemma3.ts';
import { type ExpectedTensor, type Ignores, linearTensors } from './weights.ts';

export const gemma3nFamily: Family = {
  modelType: 'gemma3n_text',
  className: 'Gemma3nForCausalLM',
  defaults: {
    vocab_size: 262_400,
    hidden_size: 2048,
    intermediate_size: 16_384,
    num_hidden_layers: 35,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    max_position_embeddings: 32_768,
    pad_token_id: 0,
    eos_token_id: 1,
    bos_token_id: 2,
    tie_word_embeddings: true,
    sliding_window: 512,
    final_logit_softcapping: 30,
    vocab_size_per_layer_input: 262_144,
    hidden_size_per_layer_input: 256,
    altup_active_idx: 0,
    altup_correct_scale: true,
    altup_num_inputs: 4,
    num_kv_shared_layers: 15,
    laurel_rank: 64,
  },
  lacks: ['mlp_bias', 'sliding_window_pattern', 'query_pre_attn_scalar', 'attn_logit_softcapping'],
  reads: ['final_logit_softcapping'],
  activationField: 'hidden_activation',
  layers: fullEvery(5),
  ropes: readRopes,
  biases: attentionBiases,
  traits: { scalesEmbeddings: true, normsHeads: true, normsValues: true, normsOutputs: true },
};

export const gemma3n = architectureOf<Gemma3nConfig>({
  modelType: gemma3nFamily.modelType,
  className: gemma3nFamily.className,
  survey: (checkpoint) => surveyGemma3nConfig(checkpoint, gemma3nFamily),
  tensors,
  ignores: unreadProjections,
  // Its layers add results of low rank to the stream that no norm could scale.
  streamScale: () => 1,
  embed: embedPiece,
  layer: layerPiece,
  head: headPiece,
});

function tensors(config: Gemma3nConfig): ExpectedTensor[] {
  const { spec, streams, perLayerSize, perLayerVocabulary, sharesHead } = config;
  const { vocabSize, hiddenSize, numHiddenLayers: layers } = spec;
  const matrix = (name: string, ...shape: number[]) => ({ name: `model.${name}.weight`, shape });
  const projections = (name: string) =>
    Array.from({ length: streams - 1 }, (_, i) => matrix(`${name}.${i}`, hiddenSize, hiddenSize));
  return [
    { name: EMBEDDING_WEIGHT, shape: [vocabSize, hiddenSize] },
    { name: PER_LAYER_EMBEDDING_WEIGHT, shape: [perLayerVocabulary, layers * perLayerSize] },
    ...Array.from({ length: layers }, (_, index) => layerTensors(config, index)).flat(),
    matrix('norm', hiddenSize),
    matrix('per_layer_model_projection', layers * perLayerSize, hiddenSize),
    matrix('per_layer_projection_norm', perLayerSize),
    ...projections('altup_projections'),
    ...projections('altup_unembed_projections'),
    ...(sharesHead ? [] : [{ name: HEAD_WEIGHT, shape: [vocabSize, hiddenSize] }]),
  ];
}

function layerTensors({ spec, biases, layers, ...config }: Gemma3nConfig, index: number): ExpectedTensor[] {
  const { streams, laurelRank, perLayerSize } = config;
  const { hiddenSize, headDim, intermediateSize, intermediateSizes } = spec;
  const neurons = intermediateSizes?.[index] ?? intermediateSize;
  const query = spec.numAttentionHeads * headDim;
  const keyValue = spec.numKeyValueHeads * headDim;
  const prefix = `model.layers.${index}`;
  const weight = (name: string, ...shape: number[]) => ({ name: `${prefix}.${name}.weight`, shape });
  const projection = (name: string, outputs: number, inputs: number, biased: 'qkv' | 'attention_output') =>
    linearTensors(`${prefix}.self_attn.${name}`, outputs, inputs, biases.has(biased));
  const own = [
    ...projection('k_proj', keyValue, hiddenSize, 'qkv'),
    ...projection('v_proj', keyValue, hiddenSize, 'qkv'),
    weight('self_attn.k_norm', headDim),
  ];
  return [
    weight('input_layernorm', hiddenSize),
    ...projection('q_proj', query, hiddenSize, 'qkv'),
    weight('self_attn.q_norm', headDim),
    ...(layers[index].cacheOf === undefined ? own : []),
    ...projection('o_proj', hiddenSize, query, 'attention_output'),
    weight('post_attention_layernorm', hiddenSize),
    weight('pre_feedforward_layernorm', hiddenSize),
    weight('mlp.gate_proj', neurons, hiddenSize),
    weight('mlp.up_proj', neurons, hiddenSize),
    weight('mlp.down_proj', hiddenSize, neurons),
    weight('post_feedforward_layernorm', hiddenSize),
    { name: `${prefix}.altup.correct_output_scale`, shape: [hiddenSize] },
    weight('altup.correction_coefs', streams, streams),
    weight('altup.prediction_coefs', streams ** 2, streams),
    weight('altup.modality_router', streams, hiddenSize),
    weight('altup.router_norm', hiddenSize),
    weight('laurel.linear_left', laurelRank, hiddenSize),
    weight('laurel.linear_right', hiddenSize, laurelRank),
    weight('laurel.post_laurel_norm', hiddenSize),
    weight('per_layer_input_gate', perLayerSize, hiddenSize),
    weight('per_layer_projection', hiddenSize, perLayerSize),
    weight('post_per_layer_input_norm', hiddenSize),
  ];
}

/** Published checkpoints have keys and values of layers that read those of others. Transformers passes over them too. */
function unreadProjections({ layers }: Gemma3nConfig): Ignores {
  return (name) => {
    const [, index] = /^model\.layers\.(\d+)\.self_attn\.(?:[kv]_proj|[kv]_norm)\.(?:weight|bias)$/.exec(name) ?? [];
    return index !== undefined && layers[Number(index)]?.cacheOf !== undefined;
  };
}

function embedPiece(parts: Gemma3nParts): Graph {
  const { config, weights, floats } = parts;
  const { spec, layers, perLayerSize } = config;
  const g = new GraphBuilder('embed');
  const table = weights(EMBEDDING_WEIGHT);
  const embedded = lookUpScaled(g, 'input_ids', table, Math.sqrt(spec.hiddenSize), g.fresh('embedded_tokens'));
  expandStreams(g, embedded, parts, hiddenName(0));
  perLayerInputs(g, embedded, parts);
  rowPositions(g);
  const masks = sharedMasks(g, parts);
  const inputs = [
    value('input_ids', 'int64', ['batch_size', 'sequence_length']),
    value('attention_mask', 'int64', ['batch_size', 'total_sequence_length']),
  ];
  const positionIds = value('position_ids', 'int64', ['batch_size', 'sequence_length']);
  const own = layers.map((_, index) =>
    value(perLayerInput(index), floats, ['batch_size', 'sequence_length', perLayerSize]),
  );
  return g.graph(inputs, [streamsValue(0, parts), ...rowLengths(), positionIds, ...masks, ...own]);
}

function layerPiece(parts: Gemma3nParts, index: number): Graph {
  const { config, floats } = parts;
  const { spec, perLayerSize } = config;
  const g = new GraphBuilder(`layers.${index}`);
  writeLayer(g, index, parts);
  const layer = config.layers[index];
  const isOwner = layer.cacheOf === undefined;
  const read = isOwner ? [...rowLengths(), ...cacheInputs(index, spec, floats)] : sharedInputs(layer, parts);
  const graph = g.graph(
    [
      streamsValue(index, parts),
      value(perLayerInput(index), floats, ['batch_size', 'sequence_length', perLayerSize]),
      ...read,
    ],
    [
      streamsValue(index + 1, parts),
      ...(isOwner ? cacheOutputs(index, spec, floats) : []),
      ...sharedOutputs(index, parts),
    ],
  );
  // The router and its norm are read twice.
  return { ...graph, initializers: oneOfEachName(graph.initializers) };
}

/** From `hidden.<index>` to `hidden.<index + 1>`, with all taps of the layer. */
function writeLayer(g: GraphBuilder, index: number, parts: Gemma3nParts): void {
  const { config, weights, floats } = parts;
  const norm = layerNorm(g, index, parts);
  const outputNorm = toStreamNorm(g, index, parts);
  const prediction = predictStreams(g, hiddenName(index), index, parts);
  const predicted = activeStream(g, prediction, parts);
  const attnIn = norm(predicted, 'input_layernorm', tapName(index, 'attn_in'));
  const attend = config.layers[index].cacheOf === undefined ? attention : sharedAttention;
  const attnOut = attend(g, attnIn, index, parts, tapName(index, 'projected'));
  shareCache(g, index, parts);
  const attended = g.op('Add', [predicted, outputNorm(attnOut, 'post_attention_layernorm')]);
  const both = g.op('Add', [attended, lowRankResidual(g, attnIn, index, parts)]);
  const residual = g.op('Div', [both, g.constant(cast(float32Tensor([Math.SQRT2], []), floats))], {
    outputs: [tapName(index, 'ffn_residual')],
  });
  const ffnIn = norm(residual, 'pre_feedforward_layernorm', tapName(index, 'ffn_in'));
  const down = gatedMlp(g, ffnIn, index, parts, tapName(index, 'down'));
  const ffnOut = outputNorm(down, 'post_feedforward_layernorm', tapName(index, 'ffn_out'));
  const activated = g.op('Add', [residual, ffnOut]);
  const corrected = correctStreams(g, prediction, predicted, activated, index, parts);
  const first = activeStream(g, corrected, parts);
  const scale = weights(`model.layers.${index}.altup.correct_output_scale`);
  const scaled = config.scalesCorrected ? g.op('Mul', [first, g.initializer(scale.name, scale.data)]) : first;
  addToOthers(g, corrected, gatedPerLayerInput(g, scaled, index, parts), parts, hiddenName(index + 1));
}

/** LAuReL (Menghani et al. 2024, "Learned Augmented Residual Layer"): x + norm(right (left x)), of low rank. */
function lowRankResidual(g: GraphBuilder, x: string, index: number, parts: Gemma3nParts): string {
  const { config, weights, normWeights } = parts;
  const prefix = `model.layers.${index}.laurel`;
  const left = linear(g, x, weights(`${prefix}.linear_left.weight`), undefined);
  const right = linear(g, left, weights(`${prefix}.linear_right.weight`), undefined);
  return g.op('Add', [x, rmsNorm(g, right, normWeights(`${prefix}.post_laurel_norm.weight`), config.rmsNormEps)]);
}

function headPiece(parts: Gemma3nParts): Graph {
  const { config, weights, normWeights } = parts;
  const { spec, logitSoftcap } = config;
  const g = new GraphBuilder('head');
  const last = collapseStreams(g, hiddenName(spec.numHiddenLayers), parts);
  const normed = rmsNorm(g, last, normWeights('model.norm.weight'), config.rmsNormEps, HEAD_TAP);
  head(g, normed, weights(config.sharesHead ? EMBEDDING_WEIGHT : HEAD_WEIGHT), logitSoftcap);
  const logits = value('logits', 'float32', ['batch_size', 'sequence_length', spec.vocabSize]);
  return g.graph([streamsValue(spec.numHiddenLayers, parts)], [logits]);
}

function streamsValue(index: number, { config, floats }: Gemma3nParts) {
  const { streams, spec } = config;
  return value(hiddenName(index), floats, ['batch_size', 'sequence_length', streams, spec.hiddenSize]);
}
