/** Which linear layers of a decoder have biases. */

/** Query, key and value; attention's output; gate, up and down. */
export type Biased = 'qkv' | 'attention_output' | 'ffn';

/** The fields of config.json that say it in most architectures. */
export interface BiasFields {
  readonly attention_bias: boolean;
  readonly mlp_bias: boolean;
}

export type ReadBiases = (fields: BiasFields) => readonly Biased[];

export const attentionBiases: ReadBiases = ({ attention_bias: biased }) => (biased ? ['qkv', 'attention_output'] : []);

export const ffnBiases: ReadBiases = ({ mlp_bias: biased }) => (biased ? ['ffn'] : []);
