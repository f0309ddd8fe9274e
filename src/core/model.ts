/** A model as its converter sees it: what its numbers are, and the pieces its graph is assembled from. */
import * as z from 'zod';
import type { Graph } from './graph.ts';
import type { TensorExpr } from './tensor.ts';

/** For any model. The largest have some 130 layers. A larger number must not become a loop of billions. */
export const MAX_LAYERS = 4096;

const size = z.int().positive();

/** The facts that later stages need, all from the checkpoint's config. */
export const modelSpecSchema = z.object({
  modelType: z.string(),
  architecture: z.string(),
  numHiddenLayers: size.max(MAX_LAYERS),
  hiddenSize: size,
  /** The widest FFN's, where layers differ. */
  intermediateSize: size,
  /** By layer, where they differ. */
  intermediateSizes: z.array(size).readonly().optional(),
  vocabSize: size,
  numAttentionHeads: size,
  numKeyValueHeads: size,
  headDim: size,
  /** Layers that own a cache, the first ones, where the others read one of theirs; all layers where it is absent. */
  cacheLayers: size.max(MAX_LAYERS).optional(),
  /** Entries of the FFN's input that gates read, the first, where up reads the others; both read all where it is absent. */
  gateInputs: size.optional(),
  /** Positions the rotary tables cover (max_position_embeddings). */
  contextLength: size,
  hiddenAct: z.string(),
  bosTokenId: z.int().optional(),
  eosTokenIds: z.array(z.int()).readonly(),
  padTokenId: z.int().optional(),
});

export interface ModelSpec extends Readonly<z.infer<typeof modelSpecSchema>> {}

/** What tells models apart. */
export const modelIdentitySchema = z.strictObject({
  modelType: z.string(),
  fingerprint: z.string(),
  numHiddenLayers: size.max(MAX_LAYERS),
  hiddenSize: size,
  intermediateSize: size,
  /** As in `ModelSpec`. */
  cacheLayers: size.max(MAX_LAYERS).optional(),
  gateInputs: size.optional(),
});

export interface ModelIdentity extends Readonly<z.infer<typeof modelIdentitySchema>> {}

/**
 * A model cut where one layer ends and the next begins, so that it can be run layer by layer.
 *
 * The residual stream is `hidden.0` (after the embedding) to `hidden.L`; it has one more axis in models that carry several
 * streams, [batch_size, sequence_length, streams, hidden_size]. Piece by piece, inputs -> outputs:
 * - `embed`: input_ids int64 [batch_size, sequence_length], attention_mask int64 [batch_size, total_sequence_length]
 *   -> hidden.0 float [batch_size, sequence_length, hidden_size], and the positions that all layers share:
 *   seqlens_k int32 [batch_size], total_sequence_length int32 [], position_ids int64 [batch_size, sequence_length]
 * - `layer(i)`: hidden.i, seqlens_k, total_sequence_length, past_key_values.i.key/value
 *   -> hidden.(i+1), present.i.key/value
 *   A layer may also read any value that a piece before it gives: its part of a second embedding, or keys and values of
 *   another layer. Then it has no cache of its own.
 * - `head`: hidden.L -> logits float [batch_size, sequence_length, vocab_size]
 *
 * Initializers that pieces share (rotary tables, tied embeddings) carry the same name in each.
 */
export interface ModelPieces {
  readonly spec: ModelSpec;
  /** What of the checkpoint is not in the pieces, and why: one sentence each, for people. */
  readonly notes?: readonly string[];
  embed(): Graph;
  layer(index: number): Graph;
  head(): Graph;
  /** A weight of the layers by its name, [out, in], as the checkpoint has it. 'not-found' for any other. */
  weight(name: string): TensorExpr;
}

/** Values inside layer(i) that calibration and rewriting find by name: `layers.<i>.<tap>`. */
export const TAPS = [
  'attn_in', // normed input of attention [b, s, hidden]
  'attended', // what attention hands to its output projection [b, s, heads * head]
  'ffn_residual', // residual stream entering the FFN block [b, s, hidden]
  'ffn_in', // normed input of the FFN [b, s, hidden]
  'gate', // gate projection [b, s, intermediate]
  'up', // up projection [b, s, intermediate]
  'act', // activation of the gate [b, s, intermediate]
  'ffn_out', // what the block adds to the residual stream, after any post-FFN norm [b, s, hidden]
] as const;

export type Tap = (typeof TAPS)[number];

/** Further values of layers that norm what their blocks add (Gemma 2 and 3). */
export const POST_NORM_TAPS = [
  'projected', // attention's output projection [b, s, hidden]; the post-attention norm turns it into what is added
  'down', // down projection [b, s, hidden]; the post-FFN norm turns it into ffn_out
] as const;

export type PostNormTap = (typeof POST_NORM_TAPS)[number];

export function tapName(layer: number, tap: Tap | PostNormTap): string {
  return `layers.${layer}.${tap}`;
}

/** The normed input of the output head [b, s, hidden], in the head's piece. */
export const HEAD_TAP = 'head.norm';

/** Width of a tapped value's last axis. */
export function tapWidth(tap: Tap | PostNormTap, spec: ModelSpec): number {
  if (tap === 'gate' || tap === 'up' || tap === 'act') return spec.intermediateSize;
  return tap === 'attended' ? spec.numAttentionHeads * spec.headDim : spec.hiddenSize;
}

/** The spec as a layer has it, whose FFN may be narrower than others; the model's own for the head. */
export function specOfLayer(spec: ModelSpec, layer: number): ModelSpec {
  const { intermediateSizes, ...rest } = spec;
  return intermediateSizes === undefined
    ? spec
    : { ...rest, intermediateSize: intermediateSizes[layer] ?? spec.intermediateSize };
}

export function hiddenName(index: number): string {
  return `hidden.${index}`;
}

/** Names of an FFN's weights as initializers in graphs; HF layout [out, in]. */
export const FFN_WEIGHTS = ['gate_proj', 'up_proj', 'down_proj'] as const;

/** Only importances use this name for a head that is also the embedding. */
export const HEAD_WEIGHT = 'lm_head.weight';

export const EMBEDDING_WEIGHT = 'model.embed_tokens.weight';

/** A second table of tokens, with a part for each layer (Gemma 3n), and the graph's value that says which rows are read. */
export const PER_LAYER_EMBEDDING_WEIGHT = 'model.embed_tokens_per_layer.weight';
export const PER_LAYER_IDS = 'per_layer_ids';

export function attentionWeightName(layer: number, projection: 'q_proj' | 'k_proj' | 'v_proj' | 'o_proj'): string {
  return `model.layers.${layer}.self_attn.${projection}.weight`;
}

export function ffnWeightName(layer: number, projection: (typeof FFN_WEIGHTS)[number]): string {
  return `model.layers.${layer}.mlp.${projection}.weight`;
}

export function ffnBiasName(layer: number, projection: (typeof FFN_WEIGHTS)[number]): string {
  return `model.layers.${layer}.mlp.${projection}.bias`;
}

/** The blocks of a layer, in the order in which they run. */
export const BLOCK_PARTS = ['attention', 'ffn'] as const;

export type BlockPart = (typeof BLOCK_PARTS)[number];

/** The module of a checkpoint's layer that holds a block's matrices. */
const MODULES: Readonly<Record<BlockPart, string>> = { attention: 'self_attn', ffn: 'mlp' };

/** `layers.<i>.<part>`: a block's address in plans, from residual in to residual out, norms included. */
export function blockName(layer: number, part: BlockPart): string {
  return `layers.${layer}.${part}`;
}

export function ffnBlock(layer: number): string {
  return blockName(layer, 'ffn');
}

/** The block that a weight of the layers belongs to; undefined for embedding, head and the norms between blocks. */
export function blockOfWeight(weight: string): string | undefined {
  const [, layer, module] = /^model\.layers\.(\d+)\.(\w+)\./.exec(weight) ?? [];
  const part = BLOCK_PARTS.find((one) => MODULES[one] === module);
  return part && blockName(Number(layer), part);
}
