/** The operators of the `lacuna` domain. `npm run vocabulary` writes the C++ side of this file and core/choice.ts. */
import { type Attribute, LACUNA_DOMAIN, type Node } from '../core/graph.ts';

/**
 * The version of names, positions and meanings below. A library of another version does not know the op types, and bodies run in
 * place of its kernels; so whatever changes here but for an input or output added at the end counts it up.
 */
export const OPERATOR_SET = 2;

/** `weights`: floats of any width, or codes. */
export type InputType = 'float32' | 'float16' | 'uint8' | 'bool' | 'int32' | 'int64' | 'weights';
export type OutputType = 'float32' | 'int32' | 'bool';

interface PortContract<Type> {
  readonly name: string;
  readonly type: Type;
  readonly optional: boolean;
}

export interface OperatorContract {
  readonly name: string;
  readonly bodies: number;
  readonly inputs: readonly PortContract<InputType>[];
  readonly outputs: readonly PortContract<OutputType>[];
  readonly attributes: Readonly<Record<string, 'int' | 'float' | 'string'>>;
}

function needs<const Name extends string, const Type extends InputType>(name: Name, type: Type) {
  return { name, type, optional: false } as const;
}

function takes<const Name extends string, const Type extends InputType>(name: Name, type: Type) {
  return { name, type, optional: true } as const;
}

/** Every operator, in order. */
export const OPERATORS = [
  {
    name: 'StatisticalTopK',
    bodies: 2,
    inputs: [needs('x', 'float32')],
    outputs: [needs('y', 'float32'), takes('kept', 'int32')],
    attributes: { quantile: 'float', mode: 'string' },
  },
  {
    name: 'GatedFFN',
    bodies: 16,
    inputs: [
      // The stream: x, or the norm of x + skip. Of a mask's tokens the others get 0.
      needs('x', 'float32'),
      takes('skip', 'float32'),
      takes('norm', 'float32'),
      takes('active', 'bool'),
      takes('residual', 'float32'),
      // Floats, a row a neuron in each; or codes, of which `down` has a column a neuron.
      takes('gate', 'weights'),
      takes('gate_scales', 'float16'),
      takes('gate_zero_points', 'uint8'),
      takes('up', 'weights'),
      takes('up_scales', 'float16'),
      takes('up_zero_points', 'uint8'),
      takes('down', 'weights'),
      takes('down_scales', 'float16'),
      takes('down_zero_points', 'uint8'),
      // In place of gate and up, the gate's rows first.
      takes('gate_up', 'uint8'),
      takes('gate_up_scales', 'float16'),
      takes('gate_bias', 'float32'),
      takes('up_bias', 'float32'),
      takes('down_bias', 'float32'),
      takes('post_norm', 'float32'),
      // What a choice needs.
      takes('threshold', 'float32'),
      takes('weights', 'float32'),
      takes('records', 'uint8'),
      takes('predictor', 'uint8'),
      takes('predictor_scales', 'float16'),
      takes('gate_up_lower', 'uint8'),
    ],
    outputs: [needs('y', 'float32'), takes('sum', 'float32'), takes('saturation', 'float32'), takes('kept', 'int32')],
    attributes: {
      storage: 'string',
      activation: 'string',
      measure: 'string',
      cut: 'string',
      mode: 'string',
      quantile: 'float',
      dense_prefill: 'int',
      gather: 'int',
      epsilon: 'float',
      post_epsilon: 'float',
      hidden_size: 'int',
      intermediate_size: 'int',
      gate_up_size: 'int',
      gate_inputs: 'int',
      up_inputs: 'int',
    },
  },
  {
    name: 'FFNSkipStart',
    bodies: 1,
    inputs: [needs('position_ids', 'int64')],
    outputs: [needs('state', 'int32'), takes('active', 'bool')],
    attributes: { warm_up: 'int', dense_prefill: 'int' },
  },
  {
    name: 'FFNSkipStep',
    bodies: 1,
    inputs: [needs('state', 'int32'), needs('saturation', 'float32'), needs('threshold', 'float32')],
    outputs: [needs('next_state', 'int32'), takes('next_active', 'bool')],
    attributes: { run_length: 'int', re_arm: 'int' },
  },
  {
    name: 'NormAttention',
    bodies: 8,
    inputs: [
      needs('x', 'float32'),
      takes('skip', 'float32'),
      needs('norm', 'float32'),
      // Those of keys and values below, or else one under the other in `query`.
      needs('query', 'uint8'),
      needs('query_scales', 'float16'),
      takes('query_zero_points', 'uint8'),
      takes('query_bias', 'float32'),
      takes('key', 'uint8'),
      takes('key_scales', 'float16'),
      takes('key_zero_points', 'uint8'),
      takes('key_bias', 'float32'),
      takes('value', 'uint8'),
      takes('value_scales', 'float16'),
      takes('value_zero_points', 'uint8'),
      takes('value_bias', 'float32'),
      needs('output', 'uint8'),
      needs('output_scales', 'float16'),
      takes('output_zero_points', 'uint8'),
      takes('output_bias', 'float32'),
      needs('past_key', 'float32'),
      needs('past_value', 'float32'),
      needs('seqlens_k', 'int32'),
      needs('total_sequence_length', 'int32'),
      needs('cosines', 'float32'),
      needs('sines', 'float32'),
      takes('query_norm', 'float32'),
      takes('key_norm', 'float32'),
      takes('post_norm', 'float32'),
    ],
    outputs: [
      needs('y', 'float32'),
      needs('present_key', 'float32'),
      needs('present_value', 'float32'),
      takes('sum', 'float32'),
    ],
    attributes: {
      storage: 'string',
      num_heads: 'int',
      kv_num_heads: 'int',
      scale: 'float',
      softcap: 'float',
      local_window_size: 'int',
      epsilon: 'float',
      head_epsilon: 'float',
      post_epsilon: 'float',
    },
  },
  {
    name: 'NormProduct',
    bodies: 4,
    inputs: [
      needs('x', 'float32'),
      needs('skip', 'float32'),
      needs('norm', 'float32'),
      needs('weight', 'uint8'),
      needs('weight_scales', 'float16'),
      takes('weight_zero_points', 'uint8'),
    ],
    outputs: [needs('y', 'float32')],
    attributes: { storage: 'string', epsilon: 'float', softcap: 'float' },
  },
  {
    name: 'SparkAttention',
    bodies: 2,
    inputs: [
      // Queries, keys and values side by side.
      needs('projected', 'float32'),
      needs('past_key', 'float32'),
      needs('past_value', 'float32'),
      needs('seqlens_k', 'int32'),
      needs('total_sequence_length', 'int32'),
      // By position: those of the threshold, and of rotary positions for both parts of a head.
      needs('quantiles', 'float32'),
      needs('cosines', 'float32'),
      needs('sines', 'float32'),
      needs('other_cosines', 'float32'),
      needs('other_sines', 'float32'),
    ],
    outputs: [
      needs('y', 'float32'),
      needs('present_key', 'float32'),
      needs('present_value', 'float32'),
      takes('attended', 'int32'),
    ],
    attributes: { num_heads: 'int', kv_num_heads: 'int', predictor_size: 'int', softcap: 'float' },
  },
] as const satisfies readonly OperatorContract[];

type Contract = (typeof OPERATORS)[number];
export type OperatorName = Contract['name'];
export type ContractOf<Name extends OperatorName> = Extract<Contract, { readonly name: Name }>;
type Input<Name extends OperatorName> = ContractOf<Name>['inputs'][number];

export type RequiredInput<Name extends OperatorName> = Extract<Input<Name>, { readonly optional: false }>['name'];
export type OptionalInput<Name extends OperatorName> = Extract<Input<Name>, { readonly optional: true }>['name'];
/** Value names by input; those left out are not given. */
export type InputValues<Name extends OperatorName> = Readonly<
  Record<RequiredInput<Name>, string> & Partial<Record<OptionalInput<Name>, string>>
>;
export type OutputName<Name extends OperatorName> = ContractOf<Name>['outputs'][number]['name'];
/** Value names by output; those left out are not wanted. */
export type OutputValues<Name extends OperatorName> = Readonly<Partial<Record<OutputName<Name>, string>>>;
export type AttributeName<Name extends OperatorName> = keyof ContractOf<Name>['attributes'] & string;
type AttributeValues<Name extends OperatorName> = Readonly<Partial<Record<AttributeName<Name>, Attribute>>>;

export function contractOf<Name extends OperatorName>(name: Name): ContractOf<Name> {
  const found = OPERATORS.find((operator): operator is ContractOf<Name> => operator.name === name);
  if (found === undefined) throw new RangeError(`No operator ${name}`);
  return found;
}

/** The op type of a model's `number`th body of an operator. It says nothing of what the body computes: attributes do. */
export function opTypeOf(name: OperatorName, number: number): string {
  return `${name}_${OPERATOR_SET}_${number}`;
}

/** Which operator a node calls; undefined for those of other domains and of other versions. */
export function operatorOf({ domain, opType }: Pick<Node, 'domain' | 'opType'>): OperatorName | undefined {
  const named = domain === LACUNA_DOMAIN ? /^(.+)_(\d+)_\d+$/.exec(opType) : null;
  if (named === null || Number(named[2]) !== OPERATOR_SET) return undefined;
  return OPERATORS.find(({ name }) => name === named[1])?.name;
}

/** The value that a node has for an input, or '' . */
export function inputOf<Name extends OperatorName>(name: Name, { inputs }: Node, input: Input<Name>['name']): string {
  const contract: OperatorContract = contractOf(name);
  return inputs[contract.inputs.findIndex((one) => one.name === input)] ?? '';
}

/** The same for an output. */
export function outputOf<Name extends OperatorName>(name: Name, { outputs }: Node, output: OutputName<Name>): string {
  const contract: OperatorContract = contractOf(name);
  return outputs[contract.outputs.findIndex((one) => one.name === output)] ?? '';
}

export interface Call<Name extends OperatorName> {
  readonly node: string;
  /** Of `opTypeOf`. */
  readonly opType: string;
  readonly inputs: InputValues<Name>;
  readonly outputs: OutputValues<Name>;
  readonly attributes: AttributeValues<Name>;
}

/** A call whose attributes follow from other facts. */
export type PlainCall<Name extends OperatorName> = Omit<Call<Name>, 'attributes'>;

/** The node that calls an operator, values at their fixed positions; what is not given at the end is left off. */
export function callNode<Name extends OperatorName>(name: Name, call: Call<Name>): Node {
  const contract: OperatorContract = contractOf(name);
  const inputs: Readonly<Record<string, string | undefined>> = call.inputs;
  const outputs: Readonly<Record<string, string | undefined>> = call.outputs;
  return {
    name: call.node,
    opType: call.opType,
    domain: LACUNA_DOMAIN,
    inputs: trimmed(contract.inputs.map((input) => inputs[input.name] ?? '')),
    outputs: trimmed(contract.outputs.map((output) => outputs[output.name] ?? '')),
    attributes: given(call.attributes),
  };
}

function given(attributes: Readonly<Record<string, Attribute | undefined>>): Record<string, Attribute> {
  const entries = Object.entries(attributes);
  return Object.fromEntries(entries.filter((entry): entry is [string, Attribute] => entry[1] !== undefined));
}

function trimmed(names: readonly string[]): readonly string[] {
  return names.slice(0, names.findLastIndex((name) => name !== '') + 1);
}
