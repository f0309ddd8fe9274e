/**
 * GatedFFN: y = down(act(gate x) ∘ up x), of which a choice may leave out neurons and a mask whole tokens. x may be
 * made here: the norm of the residual stream, to which attention's result is added first. Gate and up may each read a
 * part of x, as in Spark Transformer (2506.06644, section 3). Weights are neuron-major, in one of `STORAGES`. A node's
 * attributes and inputs say all that its body depends on; kernels and `variantOfNode` read it there.
 */
import { CHOICES, type FfnMatrix, measureNamed, type NeuronChoice } from '../core/choice.ts';
import { LacunaError } from '../core/errors.ts';
import { type Attribute, attr, CONTRIB_DOMAIN, type Node } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';
import { ACTIVATIONS, type Activation, activate, activateUp } from './activations.ts';
import type { Body } from './bodies.ts';
import { axisSize, operatorBody, sizeAttribute } from './body.ts';
import {
  type AttributeName,
  callNode,
  contractOf,
  type InputValues,
  inputOf,
  type OutputName,
  operatorOf,
  outputOf,
  type PlainCall,
} from './contract.ts';
import { type BlockValues, forActiveTokens } from './gated-ffn/active-tokens.ts';
import { measureOf } from './gated-ffn/measures.ts';
import { addBias, allNeurons, chosenNeurons, type NeuronValues } from './gated-ffn/neurons.ts';
import type { Selection } from './gated-ffn/selection.ts';
import type { Projection, Projections, StorageKind } from './gated-ffn/storage.ts';
import { STORAGES, type Storage, storageOf } from './gated-ffn/storages.ts';
import { count } from './statistical-top-k.ts';

/** What decides the body. */
export interface GatedFfnVariant {
  /** undefined: every neuron is computed. */
  readonly choice: NeuronChoice | undefined;
  readonly storage: Storage;
  /** Gate reads the first entries of x, up the others. Only for a choice by gate. */
  readonly split: boolean;
  /** Tokens where input `active` is false get y = 0, saturation 0 and kept 0. */
  readonly masked: boolean;
  /** Calls with more than one token a row choose every neuron. */
  readonly densePrefill: boolean;
  /**
   * Rows of chosen neurons are gathered where they are few. Without it all are multiplied, and zeros do the masking:
   * fewer operators, and each weight is held once, for blocks that rarely choose few. Choices and storages whose rows are
   * not gathered have no use for it.
   */
  readonly gather: boolean;
  /** What is multiplied is the RMS norm of `x` + `skip`, and that sum is an output: the residual stream. */
  readonly normed: boolean;
  /** How many neurons a token chose is an output, where there is a choice: a few operators more. */
  readonly counted: boolean;
  readonly activation: Activation;
  readonly gateBias: boolean;
  readonly upBias: boolean;
  readonly downBias: boolean;
  /** RMS norm of y before it is added to the residual stream, as Gemma 2 and 3 have it. */
  readonly postNorm: boolean;
}

export function isForStorage(choice: NeuronChoice | undefined, storage: Storage): boolean {
  return choice === undefined || (measureOf(choice).storages?.includes(storage) ?? true);
}

/** What attribute `measure` says where there is no choice. */
const NO_MEASURE = 'none';

export function choosesNeurons(node: Node): boolean {
  return operatorOf(node) === 'GatedFFN' && stringOf(node, 'measure') !== NO_MEASURE;
}

/** The name of its count, where a node has that output. */
export function countOf(node: Node): string | undefined {
  return outputOf('GatedFFN', node, 'kept') || undefined;
}

export interface GatedFfnCall extends PlainCall<'GatedFFN'> {
  /** Q(1 - density), where the cut is `deviation`. */
  readonly quantile?: number;
  /** Of the norm of the stream, and of the post-norm. */
  readonly epsilon?: number;
  readonly postEpsilon?: number;
  /** h and f, and how many entries of x a split gate reads. */
  readonly sizes: { readonly hidden: number; readonly neurons: number; readonly gateInputs?: number };
}

/**
 * The outputs that a variant has. Each costs nodes whether a caller wants it or not, so the saturation is left to masked
 * variants, whose model skips by it, and the count to those that are measured.
 */
export function gatedFfnOutputs(variant: GatedFfnVariant): OutputName<'GatedFFN'>[] {
  return [
    'y',
    ...(variant.normed ? (['sum'] as const) : []),
    ...(variant.masked ? (['saturation'] as const) : []),
    ...(isCounted(variant) ? (['kept'] as const) : []),
  ];
}

function isCounted({ choice, counted }: GatedFfnVariant): boolean {
  return counted && choice !== undefined;
}

/** The node that calls a variant; throws a RangeError when its inputs are not those that the variant reads. */
export function gatedFfnNode(variant: GatedFfnVariant, call: GatedFfnCall): Node {
  checkVariant(variant);
  checkInputs(variant, call.inputs);
  const { choice, storage } = variant;
  const { hidden, neurons } = call.sizes;
  const isSized = storageOf(storage).sized || variant.split || choice?.measure === 'predicted';
  return callNode('GatedFFN', {
    ...call,
    attributes: {
      storage: attr.string(storage),
      activation: attr.string(variant.activation),
      measure: attr.string(choice?.measure ?? NO_MEASURE),
      ...(choice !== undefined && { cut: attr.string(choice.cut), ...flag('gather', variant.gather) }),
      ...(choice?.cut === 'deviation' && {
        mode: attr.string(choice.mode),
        quantile: attr.float(wanted(call.quantile)),
      }),
      ...flag('dense_prefill', variant.densePrefill),
      ...(variant.normed && { epsilon: attr.float(wanted(call.epsilon)) }),
      ...(variant.postNorm && { post_epsilon: attr.float(wanted(call.postEpsilon)) }),
      ...(isSized && {
        hidden_size: attr.int(hidden),
        intermediate_size: attr.int(neurons),
        gate_up_size: attr.int(2 * neurons),
      }),
      ...(variant.split && partSizes(hidden, wanted(call.sizes.gateInputs))),
    },
  });
}

/** Flags that are not set are left off. */
function flag(name: AttributeName<'GatedFFN'>, isSet: boolean): Readonly<Record<string, Attribute>> {
  return isSet ? { [name]: attr.int(1) } : {};
}

function partSizes(hidden: number, gateInputs: number) {
  if (gateInputs > 0 && gateInputs < hidden)
    return { gate_inputs: attr.int(gateInputs), up_inputs: attr.int(hidden - gateInputs) };
  throw new RangeError(`Expected 1 to ${hidden - 1} entries for GatedFFN's gate but received ${gateInputs}`);
}

function wanted(value: number | undefined): number {
  if (value === undefined) throw new RangeError('GatedFFN lacks an attribute that its variant reads');
  return value;
}

/** Throws a RangeError for a choice that there is not, or not in the storage. */
function checkVariant({ choice, storage, split }: GatedFfnVariant): void {
  if (split && choice?.measure !== 'gate') throw new RangeError('Gate and up read parts of x for measure gate alone');
  if (choice === undefined) return;
  const { measure, cut } = choice;
  if (!measureNamed(measure).cuts.includes(cut)) throw new RangeError(`Measure ${measure} has no cut ${cut}`);
  if (!isForStorage(choice, storage))
    throw new RangeError(
      `Measure ${measure} is for storage ${measureOf(choice).storages?.join(' or ')}, not for ${storage}`,
    );
}

function checkInputs(variant: GatedFfnVariant, inputs: InputValues<'GatedFFN'>): void {
  const reads = inputsRead(variant);
  for (const { name } of contractOf('GatedFFN').inputs) {
    if (inputs[name] === undefined && reads.has(name)) throw new RangeError(`GatedFFN lacks input ${name}`);
    if (inputs[name] !== undefined && !reads.has(name)) throw new RangeError(`GatedFFN does not read input ${name}`);
  }
}

function inputsRead(variant: GatedFfnVariant): ReadonlySet<keyof InputValues<'GatedFFN'>> {
  const storage = storageOf(variant.storage);
  return new Set([
    'x' as const,
    ...(variant.split ? storage.splitProjections : storage.projections),
    ...(variant.gateBias ? (['gate_bias'] as const) : []),
    ...(variant.upBias ? (['up_bias'] as const) : []),
    ...(variant.downBias ? (['down_bias'] as const) : []),
    ...(variant.normed ? (['skip', 'norm'] as const) : []),
    ...(variant.masked ? (['active'] as const) : []),
    // Of a stream that is added up here the sum is at hand.
    ...(variant.masked && !variant.normed ? (['residual'] as const) : []),
    ...(variant.postNorm ? (['post_norm'] as const) : []),
    ...(variant.choice === undefined ? [] : measureOf(variant.choice).inputs),
    ...storage.inputs,
    ...(storage.combineRecorded && recordedBy(variant.choice).length > 0 ? (['records'] as const) : []),
  ]);
}

/** What is in the records of a node with this choice, in storages that have records; there are none where that is nothing. */
export function recordedBy(choice: NeuronChoice | undefined): readonly FfnMatrix[] {
  return choice === undefined ? [] : measureNamed(choice.measure).rows;
}

/**
 * What a node says of its variant: the inverse of `gatedFfnNode`.
 *
 * @throws LacunaError `bad-file` for a node that says what the contract does not have: models come from files.
 */
export function variantOfNode(node: Node): GatedFfnVariant {
  try {
    const variant = readVariant(node);
    checkVariant(variant);
    return variant;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new LacunaError('bad-file', `${node.name} is no sound call of GatedFFN: ${error.message}`, {
      hint: 'Make the folder again with lacuna sparsify.',
    });
  }
}

function readVariant(node: Node): GatedFfnVariant {
  const has = (input: Parameters<typeof inputOf<'GatedFFN'>>[2]) => inputOf('GatedFFN', node, input) !== '';
  return {
    choice: choiceOfNode(node),
    storage: oneOf(STORAGES, stringOf(node, 'storage')),
    split: node.attributes.gate_inputs !== undefined,
    masked: has('active'),
    densePrefill: isSet(node, 'dense_prefill'),
    gather: isSet(node, 'gather'),
    normed: has('norm'),
    counted: countOf(node) !== undefined,
    activation: oneOf(ACTIVATIONS, stringOf(node, 'activation')),
    gateBias: has('gate_bias'),
    upBias: has('up_bias'),
    downBias: has('down_bias'),
    postNorm: has('post_norm'),
  };
}

function choiceOfNode(node: Node): NeuronChoice | undefined {
  const measure = stringOf(node, 'measure');
  if (measure === NO_MEASURE) return undefined;
  const [cut, mode] = [stringOf(node, 'cut'), stringOf(node, 'mode')];
  const found = CHOICES.find(
    (choice) =>
      choice.measure === measure && choice.cut === cut && (choice.cut !== 'deviation' || choice.mode === mode),
  );
  if (found === undefined) throw new RangeError(`it chooses by measure ${measure}, cut ${cut}, mode ${mode}`);
  return found;
}

function oneOf<Name extends string>(names: readonly Name[], found: string | undefined): Name {
  const name = names.find((one) => one === found);
  if (name === undefined) throw new RangeError(`Expected ${names.join(' or ')} but found ${found}`);
  return name;
}

function stringOf({ attributes }: Node, name: AttributeName<'GatedFFN'>): string | undefined {
  const attribute = attributes[name];
  return attribute?.kind === 'string' ? attribute.value : undefined;
}

function isSet({ attributes }: Node, name: AttributeName<'GatedFFN'>): boolean {
  const attribute = attributes[name];
  return attribute?.kind === 'int' && attribute.value !== 0;
}

export function gatedFfnBody(variant: GatedFfnVariant): Body {
  checkVariant(variant);
  const stream = variant.normed ? 'n = norm(sum), sum = x + skip' : 'n = x';
  const doc = `y = down(act(gate n) * up n) over the chosen neurons, ${stream}; saturation = cos(residual, residual + y).`;
  return operatorBody('GatedFFN', doc, gatedFfnOutputs(variant), (g) => {
    const runDense = variant.densePrefill ? hasManyTokens(g) : undefined;
    const { x, residual } = variant.normed ? normedStream(g) : { x: 'x', residual: 'residual' };
    const run = (b: GraphBuilder) => writeBlock(b, variant, x, runDense);
    const { branches, sized } = storageOf(variant.storage);
    if (variant.masked) {
      const hidden = sized ? sizeAttribute(g, 'hidden_size') : axisSize(g, 'down', 1);
      return forActiveTokens(g, { residual, hidden, counted: isCounted(variant), branches }, run);
    }
    const { y, kept } = run(g);
    g.op('Identity', [y], { outputs: ['y'] });
    if (kept !== undefined) g.op('Identity', [kept], { outputs: ['kept'] });
  });
}

/** The residual stream, which is output `sum`, and its norm. */
function normedStream(g: GraphBuilder): { readonly x: string; readonly residual: string } {
  const [x, , , residual] = g.ops('SkipSimplifiedLayerNormalization', ['x', 'skip', 'norm'], {
    domain: CONTRIB_DOMAIN,
    attributes: { epsilon: attr.reference('epsilon', 'float') },
    outputs: [g.fresh('normed'), '', '', 'sum'],
  });
  return { x, residual };
}

/** bool [1]: more than one token a row. */
function hasManyTokens(g: GraphBuilder): string {
  return g.op('Greater', [axisSize(g, 'x', 1), g.int64(1)], { outputs: ['many_tokens'] });
}

function writeBlock(g: GraphBuilder, variant: GatedFfnVariant, x: string, runDense: string | undefined): BlockValues {
  const { choice, activation, upBias } = variant;
  const storage = storageFor(variant);
  const read = variant.split ? splitInput(g, x) : { gate: x, up: x };
  const biases = { gate: variant.gateBias ? 'gate_bias' : undefined, up: upBias ? 'up_bias' : undefined };
  const factor = (projection: Projection, value: string) => {
    const biased = addBias(g, value, biases[projection]);
    return projection === 'up' ? activateUp(g, activation, biased) : biased;
  };
  const product = variant.split ? partProjector(storage, read) : projector(g, storage, x);
  const project = (projection: Projection) => factor(projection, product(g, projection));
  const neurons = () => (storage.sized ? sizeAttribute(g, 'intermediate_size') : axisSize(g, 'gate', 0));
  const context = { x, activation, neurons, runDense, project, factor };
  const all = (): Selection => ({ act: activate(g, activation, project('gate')), chosen: undefined });
  const selection = once(choice === undefined ? all() : measureOf(choice).select(g, choice, context));
  const values = { x: read.up, activation, up: (b: GraphBuilder) => product(b, 'up'), upBias, storage };
  const biased = addBias(g, down(g, variant, values, selection), variant.downBias ? 'down_bias' : undefined);
  const { chosen } = selection;
  return {
    y: variant.postNorm ? postNorm(g, biased) : biased,
    kept: chosen && variant.counted ? count(g, chosen()) : undefined,
  };
}

function storageFor({ choice, storage: name }: GatedFfnVariant): StorageKind {
  const storage = storageOf(name);
  const isRecorded = recordedBy(choice).includes('down');
  return isRecorded ? { ...storage, combine: storage.combineRecorded ?? storage.combine } : storage;
}

/** What is chosen is made at most once, outside of all branches. */
function once(selection: Selection): Selection {
  const { chosen } = selection;
  let made: string | undefined;
  const make = chosen && (() => (made ??= chosen()));
  return { ...selection, chosen: make };
}

/** x W^T by name, in the builder that is given; both at the first that is asked for where they are one matrix. */
function projector(g: GraphBuilder, storage: StorageKind, x: string) {
  let both: Projections | undefined;
  return (b: GraphBuilder, projection: Projection): string => {
    if (storage.projectBoth === undefined) return storage.project(b, x, projection, 'hidden_size');
    both ??= storage.projectBoth(g, x);
    return both[projection];
  };
}

/** The same where each reads its own part of x. */
function partProjector(storage: StorageKind, parts: Projections) {
  return (b: GraphBuilder, projection: Projection): string =>
    storage.project(b, parts[projection], projection, projection === 'gate' ? 'gate_inputs' : 'up_inputs');
}

/** The first entries of x, which gate reads, and the others. */
function splitInput(g: GraphBuilder, x: string): Projections {
  const sizes = g.op('Concat', [sizeAttribute(g, 'gate_inputs'), sizeAttribute(g, 'up_inputs')], {
    attributes: { axis: attr.int(0) },
  });
  const outputs = [g.fresh('first'), g.fresh('rest')];
  const [gate, up] = g.ops('Split', [x, sizes], { attributes: { axis: attr.int(-1) }, outputs });
  return { gate, up };
}

/** What is chosen, times up where that is still to be done, times down. */
function down(
  g: GraphBuilder,
  variant: GatedFfnVariant,
  withoutAct: Omit<NeuronValues, 'act'>,
  selection: Selection,
): string {
  const { storage } = withoutAct;
  if ('products' in selection) return storage.combine(g, selection.products, g.fresh('all'));
  const { act, chosen } = selection;
  const values = { ...withoutAct, act };
  return chosen !== undefined && variant.gather && storage.gathered !== undefined
    ? chosenNeurons(g, values, chosen(), storage.gathered)
    : allNeurons(g, values);
}

/** RMS norm by input `post_norm` and attribute `post_epsilon`. */
function postNorm(g: GraphBuilder, y: string): string {
  return g.op('SimplifiedLayerNormalization', [y, 'post_norm'], {
    attributes: { axis: attr.int(-1), epsilon: attr.reference('post_epsilon', 'float'), stash_type: attr.int(1) },
  });
}
