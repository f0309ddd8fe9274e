/** The operators of the `lacuna` domain: their inputs, outputs and attributes, which kernels and bodies share. */
import { type Attribute, LACUNA_DOMAIN, type Node } from '../core/graph.ts';

/**
 * Every operator, in order. An op type is the name, then what the operator's own file appends to tell bodies apart.
 * Positions are fixed from the first release on: an input or output is then only ever added at the end.
 */
export const OPERATORS = [
  {
    name: 'StatisticalTopK',
    inputs: [{ name: 'x', optional: false }],
    outputs: ['y', 'kept'],
    attributes: { quantile: 'float' },
  },
  {
    name: 'GatedFFN',
    inputs: [
      { name: 'x', optional: false },
      { name: 'gate', optional: true },
      { name: 'up', optional: true },
      { name: 'down', optional: true },
      { name: 'gate_bias', optional: true },
      { name: 'up_bias', optional: true },
      { name: 'down_bias', optional: true },
      { name: 'active', optional: true },
      { name: 'residual', optional: true },
      { name: 'post_norm', optional: true },
      { name: 'threshold', optional: true },
      { name: 'weights', optional: true },
      { name: 'predictor', optional: true },
      { name: 'predictor_scales', optional: true },
      { name: 'gate_up', optional: true },
      { name: 'gate_up_scales', optional: true },
      { name: 'records', optional: true },
      { name: 'down_columns', optional: true },
      { name: 'down_columns_scales', optional: true },
      { name: 'gate_up_lower', optional: true },
      { name: 'skip', optional: true },
      { name: 'norm', optional: true },
    ],
    outputs: ['y', 'saturation', 'kept', 'sum'],
    attributes: {
      activation: 'string',
      quantile: 'float',
      epsilon: 'float',
      norm_epsilon: 'float',
      scale: 'string',
      mode: 'string',
      hidden_size: 'int',
      intermediate_size: 'int',
      gate_up_size: 'int',
    },
  },
  {
    name: 'FFNSkipStart',
    inputs: [{ name: 'position_ids', optional: false }],
    outputs: ['state', 'active'],
    attributes: { warm_up: 'int' },
  },
  {
    name: 'FFNSkipStep',
    inputs: [
      { name: 'state', optional: false },
      { name: 'saturation', optional: false },
      { name: 'threshold', optional: false },
    ],
    outputs: ['next_state', 'next_active'],
    attributes: { run_length: 'int', re_arm: 'int' },
  },
  {
    name: 'SparkFFN',
    inputs: [
      { name: 'x', optional: false },
      { name: 'gate', optional: false },
      { name: 'up', optional: false },
      { name: 'down', optional: true },
      { name: 'post_norm', optional: true },
      { name: 'gate_scales', optional: true },
      { name: 'up_scales', optional: true },
      { name: 'records', optional: true },
      { name: 'down_columns', optional: true },
      { name: 'down_columns_scales', optional: true },
    ],
    outputs: ['y', 'kept'],
    attributes: {
      activation: 'string',
      quantile: 'float',
      mode: 'string',
      epsilon: 'float',
      gate_inputs: 'int',
      up_inputs: 'int',
      hidden_size: 'int',
      intermediate_size: 'int',
    },
  },
  {
    name: 'NormAttention',
    inputs: [
      { name: 'x', optional: false },
      { name: 'norm', optional: false },
      { name: 'query', optional: false },
      { name: 'query_scales', optional: false },
      { name: 'output', optional: false },
      { name: 'output_scales', optional: false },
      { name: 'past_key', optional: false },
      { name: 'past_value', optional: false },
      { name: 'seqlens_k', optional: false },
      { name: 'total_sequence_length', optional: false },
      { name: 'cosines', optional: false },
      { name: 'sines', optional: false },
      { name: 'skip', optional: true },
      { name: 'key', optional: true },
      { name: 'key_scales', optional: true },
      { name: 'value', optional: true },
      { name: 'value_scales', optional: true },
      { name: 'query_norm', optional: true },
      { name: 'key_norm', optional: true },
      { name: 'post_norm', optional: true },
      { name: 'query_zero_points', optional: true },
      { name: 'output_zero_points', optional: true },
      { name: 'key_zero_points', optional: true },
      { name: 'value_zero_points', optional: true },
      { name: 'query_bias', optional: true },
      { name: 'output_bias', optional: true },
      { name: 'key_bias', optional: true },
      { name: 'value_bias', optional: true },
    ],
    outputs: ['y', 'present_key', 'present_value', 'sum'],
    attributes: {
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
    name: 'NormFFN',
    inputs: [
      { name: 'x', optional: false },
      { name: 'skip', optional: false },
      { name: 'norm', optional: false },
      { name: 'gate', optional: false },
      { name: 'gate_scales', optional: false },
      { name: 'up', optional: false },
      { name: 'up_scales', optional: false },
      { name: 'down', optional: false },
      { name: 'down_scales', optional: false },
      { name: 'post_norm', optional: true },
      { name: 'gate_zero_points', optional: true },
      { name: 'up_zero_points', optional: true },
      { name: 'down_zero_points', optional: true },
      { name: 'gate_bias', optional: true },
      { name: 'up_bias', optional: true },
      { name: 'down_bias', optional: true },
    ],
    outputs: ['y', 'sum'],
    attributes: { activation: 'string', epsilon: 'float', post_epsilon: 'float' },
  },
  {
    name: 'NormProduct',
    inputs: [
      { name: 'x', optional: false },
      { name: 'skip', optional: false },
      { name: 'norm', optional: false },
      { name: 'weight', optional: false },
      { name: 'weight_scales', optional: false },
      { name: 'weight_zero_points', optional: true },
    ],
    outputs: ['y'],
    attributes: { epsilon: 'float', softcap: 'float' },
  },
] as const satisfies readonly OperatorContract[];

export interface OperatorContract {
  readonly name: string;
  readonly inputs: readonly { readonly name: string; readonly optional: boolean }[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, 'int' | 'float' | 'string'>>;
}

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
export type OutputName<Name extends OperatorName> = ContractOf<Name>['outputs'][number];
/** Value names by output; those left out are not wanted. */
export type OutputValues<Name extends OperatorName> = Readonly<Partial<Record<OutputName<Name>, string>>>;
type AttributeValues<Name extends OperatorName> = Readonly<
  Partial<Record<keyof ContractOf<Name>['attributes'], Attribute>>
>;

export function contractOf<Name extends OperatorName>(name: Name): ContractOf<Name> {
  const found = OPERATORS.find((operator): operator is ContractOf<Name> => operator.name === name);
  if (found === undefined) throw new RangeError(`No operator ${name}`);
  return found;
}

export interface Call<Name extends OperatorName> {
  /** Name of the node. */
  readonly node: string;
  /** The operator's name and what tells its body apart. */
  readonly opType: string;
  readonly inputs: InputValues<Name>;
  readonly outputs: OutputValues<Name>;
  readonly attributes: AttributeValues<Name>;
}

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
    outputs: trimmed(contract.outputs.map((output) => outputs[output] ?? '')),
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
