/** The tensors that a config asks for, and the check that a checkpoint has exactly those. */
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { FLOAT_DTYPES, isFloat } from '../src/core/dtype.ts';
import { LacunaError } from '../src/core/errors.ts';
import type { Initializer } from '../src/core/graph.ts';
import { blockOfWeight, EMBEDDING_WEIGHT, HEAD_WEIGHT } from '../src/core/model.ts';
import type { Precision } from '../src/core/precision.ts';
import { firstOf } from '../src/core/problems.ts';
import { cast, type QuantizedMatrix, type TensorExpr } from '../src/core/tensor.ts';
import type { DecoderConfig } from './config/decoder-config.ts';

/** A weight as floats. The block that uses it stores it in the precision. */
export interface Weight extends Initializer {
  readonly precision: Precision;
  /** The weight of errors in each column, float [columns], if known. */
  readonly importance: TensorExpr | undefined;
  /** The same in blocks, if that was computed before. */
  readonly rounded?: QuantizedMatrix | undefined;
}

/** By the weight's name: the mean square of each input of the weight, float [columns]. */
export type Importance = ReadonlyMap<string, TensorExpr>;

export interface StorageOptions {
  readonly precision: Precision;
  /** By the block's name: blocks that are stored in another precision, of the same floats. */
  readonly mix?: ReadonlyMap<string, Precision> | undefined;
  /** `lm_head.weight` also where the head is the embedding. Names and widths of other models are a `mismatch`. */
  readonly importance?: Importance | undefined;
  /** By the precision's name, then the weight's: matrices that are already in blocks of the precision's scheme. */
  readonly rounded?: RoundedMatrices | undefined;
}

export type RoundedMatrices = ReadonlyMap<string, ReadonlyMap<string, QuantizedMatrix>>;

export type Weights = (name: string) => Weight;

export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Names of tensors that a checkpoint may have and that no model reads. */
export type Ignores = (name: string) => boolean;

/** Buffers that old versions of Transformers saved and that follow from the config. */
const DERIVED = /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$/;

/** Every weight, to be stored as `storage` says. Only for names that `checkTensors` has checked. */
export function weightsOf(tensors: ReadonlyMap<string, TensorExpr>, storage: StorageOptions): Weights {
  const { importance, rounded, mix } = storage;
  return (name) => {
    const precision = mix?.get(blockOfWeight(name) ?? '') ?? storage.precision;
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new LacunaError('not-found', `No tensor "${name}" in the checkpoint`);
    const data = cast(tensor, precision.floats);
    return {
      name,
      data,
      precision,
      importance: importance?.get(name),
      rounded: rounded?.get(precision.name)?.get(name),
    };
  };
}

/** Names and shapes of a LLaMA- or Gemma-like decoder, weights as [out, in]. */
export function decoderTensors(config: DecoderConfig): ExpectedTensor[] {
  const { vocabSize, hiddenSize, numHiddenLayers } = config.spec;
  const layers = Array.from({ length: numHiddenLayers }, (_, index) => layerTensors(config, `model.layers.${index}`));
  const lmHead = { name: HEAD_WEIGHT, shape: [vocabSize, hiddenSize] };
  return [
    { name: EMBEDDING_WEIGHT, shape: [vocabSize, hiddenSize] },
    ...layers.flat(),
    { name: 'model.norm.weight', shape: [hiddenSize] },
    ...(config.sharesHead ? [] : [lmHead]),
  ];
}

function layerTensors({ spec, biases, traits, gateInputs }: DecoderConfig, prefix: string): ExpectedTensor[] {
  const { hiddenSize, intermediateSize, headDim } = spec;
  const [gated, upped] = gateInputs === undefined ? [hiddenSize, hiddenSize] : [gateInputs, hiddenSize - gateInputs];
  const query = spec.numAttentionHeads * headDim;
  const keyValue = spec.numKeyValueHeads * headDim;
  const norm = (name: string, width: number) => ({ name: `${prefix}.${name}.weight`, shape: [width] });
  const headNorms = ['self_attn.q_norm', 'self_attn.k_norm'].map((name) => norm(name, headDim));
  const ffnNorms = ['pre_feedforward_layernorm', 'post_feedforward_layernorm'].map((name) => norm(name, hiddenSize));
  return [
    norm('input_layernorm', hiddenSize),
    ...linearTensors(`${prefix}.self_attn.q_proj`, query, hiddenSize, biases.has('qkv')),
    ...linearTensors(`${prefix}.self_attn.k_proj`, keyValue, hiddenSize, biases.has('qkv')),
    ...linearTensors(`${prefix}.self_attn.v_proj`, keyValue, hiddenSize, biases.has('qkv')),
    ...linearTensors(`${prefix}.self_attn.o_proj`, hiddenSize, query, biases.has('attention_output')),
    ...(traits.normsHeads ? headNorms : []),
    norm('post_attention_layernorm', hiddenSize),
    ...(traits.normsOutputs ? ffnNorms : []),
    ...linearTensors(`${prefix}.mlp.gate_proj`, intermediateSize, gated, biases.has('ffn')),
    ...linearTensors(`${prefix}.mlp.up_proj`, intermediateSize, upped, biases.has('ffn')),
    ...linearTensors(`${prefix}.mlp.down_proj`, hiddenSize, intermediateSize, biases.has('ffn')),
  ];
}

export function linearTensors(prefix: string, outputs: number, inputs: number, bias: boolean): ExpectedTensor[] {
  const weight = { name: `${prefix}.weight`, shape: [outputs, inputs] };
  return bias ? [weight, { name: `${prefix}.bias`, shape: [outputs] }] : [weight];
}

export interface CheckOptions {
  /** Tensors that do not count as missing. */
  readonly unread?: ReadonlySet<string>;
  readonly ignores?: Ignores;
}

/**
 * Refuses a checkpoint with other tensors than expected, with all that is wrong in one error: `not-found` when tensors
 * are only missing, `unsupported` when only their element types are, else `mismatch`. A tensor that nothing asks for is
 * an error too: a model without it would be another model.
 */
export function checkTensors(
  { tensors, path }: Checkpoint,
  expected: readonly ExpectedTensor[],
  { unread = new Set(), ignores = () => false }: CheckOptions = {},
): void {
  const names = new Set(expected.map((tensor) => tensor.name));
  const absent = expected.filter(({ name }) => !tensors.has(name) && !unread.has(name));
  const missing = absent.map((tensor) => `missing: ${tensor.name}`);
  const shapes = expected.flatMap((tensor) => shapeProblem(tensor, tensors.get(tensor.name)));
  const dtypes = expected.flatMap(({ name }) => dtypeProblem(name, tensors.get(name)));
  const extra = [...tensors.keys()].filter((name) => !names.has(name) && !DERIVED.test(name) && !ignores(name));
  const unused = extra.map((name) => `used by nothing: ${name}`);
  const problems = [...missing, ...shapes, ...unused, ...dtypes];
  if (problems.length === 0) return;
  const only = (kind: readonly string[]) => kind.length === problems.length;
  const code = only(missing) ? 'not-found' : only(dtypes) ? 'unsupported' : 'mismatch';
  throw new LacunaError(code, `The tensors of ${path} do not fit its config.json:\n${firstOf(problems)}`, {
    hint: tensorHint(missing),
  });
}

function shapeProblem({ name, shape }: ExpectedTensor, tensor: TensorExpr | undefined): string[] {
  if (tensor === undefined || String(tensor.shape) === String(shape)) return [];
  return [`shape: ${name} is [${tensor.shape}], the config says [${shape}]`];
}

function dtypeProblem(name: string, tensor: TensorExpr | undefined): string[] {
  if (tensor === undefined || isFloat(tensor.dtype)) return [];
  return [`type: ${name} is ${tensor.dtype}, weights are read from ${FLOAT_DTYPES.join(', ')}`];
}

function tensorHint(missing: readonly string[]): string {
  return missing.includes(`missing: ${HEAD_WEIGHT}`)
    ? 'If the head is meant to be the embedding, set "tie_word_embeddings": true in config.json.'
    : 'Give all files of one checkpoint, with the config.json that was saved beside them.';
}

/** Refuses, as `mismatch`, importances that do not have one number for each column of a matrix of the checkpoint. */
export function checkImportance({ tensors, path }: Checkpoint, importance: Importance): void {
  const problems = [...importance].flatMap(([name, { shape }]) => {
    const weight = tensors.get(name);
    if (weight?.shape.length !== 2) return [`no matrix of the checkpoint: ${name}`];
    const fits = shape.length === 1 && shape[0] === weight.shape[1];
    return fits ? [] : [`shape: ${name} has [${shape}], its weight has ${weight.shape[1]} columns`];
  });
  if (problems.length === 0) return;
  throw new LacunaError('mismatch', `The importances do not fit the weights of ${path}:\n${firstOf(problems)}`, {
    hint: 'Measure them on this checkpoint; names are those of its weights.',
  });
}
