/** What the decoders of llama.cpp have in common: keys of the file, tensors of blocks, fields of config.json. */
import * as z from 'zod';
import type { ConfigSource, TensorRule } from './architecture.ts';

export const size = z.int().positive();

export const DECODER_KEYS = {
  vocab_size: size.optional(),
  context_length: size,
  embedding_length: size,
  block_count: size,
  feed_forward_length: size,
  'attention.head_count': size,
  'attention.layer_norm_rms_epsilon': z.number().positive(),
  'rope.scaling.factor': z.number().positive().optional(),
};

type DecoderFields = z.infer<z.ZodObject<typeof DECODER_KEYS>> & { readonly 'rope.freq_base': number };

/** Fields of config.json that say the same in every architecture. */
export function decoderConfig({ fields, tensors, special }: ConfigSource<DecoderFields>) {
  const [vocabSize] = tensors.get('token_embd.weight')?.shape ?? [];
  return {
    attention_bias: tensors.has('blk.0.attn_q.bias'),
    bos_token_id: special.bos ?? null,
    eos_token_id: special.eos.length > 1 ? special.eos : (special.eos[0] ?? null),
    hidden_size: fields.embedding_length,
    intermediate_size: fields.feed_forward_length,
    max_position_embeddings: fields.context_length,
    num_attention_heads: fields['attention.head_count'],
    num_hidden_layers: fields.block_count,
    pad_token_id: special.pad ?? null,
    rms_norm_eps: shortest(fields['attention.layer_norm_rms_epsilon']),
    rope_theta: fields['rope.freq_base'],
    tie_word_embeddings: !tensors.has('output.weight'),
    vocab_size: vocabSize ?? fields.vocab_size,
  };
}

/** The shortest decimal that is the same float32: 1e-5 for what passed through one as 0.000009999999747378752. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

/** Matches a block's tensor; its number is group 0. */
export function block(part: string, kind: string): RegExp {
  return new RegExp(`^blk\\.(\\d+)\\.${part}\\.${kind}$`);
}

/** A weight and the bias that it may have. */
export function linear<Fields>(part: string, name: string, undo?: TensorRule<Fields>['undo']): TensorRule<Fields>[] {
  return ['weight', 'bias'].map((kind) => ({
    pattern: block(part, kind),
    name: `model.layers.{0}.${name}.${kind}`,
    ...(undo && { undo }),
  }));
}

/** Tensors that every decoder has and whose values are stored as they are. */
export const PLAIN_TENSORS: readonly TensorRule<unknown>[] = [
  { pattern: /^token_embd\.weight$/, name: 'model.embed_tokens.weight' },
  { pattern: /^output\.weight$/, name: 'lm_head.weight' },
  ...linear('attn_v', 'self_attn.v_proj'),
  ...linear('attn_output', 'self_attn.o_proj'),
  ...linear('ffn_gate', 'mlp.gate_proj'),
  ...linear('ffn_up', 'mlp.up_proj'),
  ...linear('ffn_down', 'mlp.down_proj'),
];
