/**
 * GatedFFN: y = down(act(gate x) ∘ up x), of which a selector may leave out neurons and a mask whole tokens. x may be made
 * here: the norm of the residual stream, to which what attention gave is added first.
 *
 * Weights are neuron-major, a row a neuron, in one of `STORAGES`. The op type is `GatedFFN_<selector>_<storage>`, then `_mean`
 * or `_hard` where the selector's settings need a body of their own, then `_masked`, `_decode`, `_whole`, `_normed`, `_counted`.
 * What else the body depends on, activation, biases and post-norm, is one for all layers of a model.
 */
import { attr, CONTRIB_DOMAIN, LACUNA_DOMAIN, type Node, type OpFunction } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';
import type { Activation } from './activations.ts';
import { axisSize, opFunction, sizeAttribute } from './body.ts';
import { callNode, contractOf, type InputValues, type OutputName, type OutputValues } from './contract.ts';
import { type BlockValues, forActiveTokens } from './gated-ffn/active-tokens.ts';
import { addBias, allNeurons, chosenNeurons, type NeuronValues, neuronCount } from './gated-ffn/neurons.ts';
import type { Selection } from './gated-ffn/selection.ts';
import { type SelectorChoice, selectorOf } from './gated-ffn/selectors.ts';
import type { FfnMatrix, Projection, Projections, StorageKind } from './gated-ffn/storage.ts';
import { type Storage, storageOf } from './gated-ffn/storages.ts';
import { count } from './statistical-top-k.ts';

/** What decides the body. */
export interface GatedFfnVariant {
  readonly selector: SelectorChoice;
  readonly storage: Storage;
  /** Tokens where input `active` is false get y = 0, saturation 0 and kept 0. */
  readonly masked: boolean;
  /** Calls with more than one token a row choose every neuron. */
  readonly decode: boolean;
  /**
   * Rows of chosen neurons are gathered where they are few. Without it all are multiplied, and zeros do the masking:
   * fewer operators, and each weight is held once, for blocks that rarely choose few. Selectors and storages whose rows are
   * not gathered have no use for it.
   */
  readonly gather: boolean;
  /** What is multiplied is the RMS norm of `x` + `skip`, and that sum is an output: the residual stream. */
  readonly normed: boolean;
  /** How many neurons a token chose is an output, where a selector chooses: a few operators more. */
  readonly counted: boolean;
  readonly activation: Activation;
  readonly gateBias: boolean;
  readonly upBias: boolean;
  readonly downBias: boolean;
  /** RMS norm of y before it is added to the residual stream, as Gemma 2 and 3 have it. */
  readonly postNorm: boolean;
}

/** Whether a selector is there in a storage. */
export function isForStorage(selector: SelectorChoice, storage: Storage): boolean {
  return selectorOf(selector).storages?.includes(storage) ?? true;
}

/** Throws a RangeError where the storage does not have the selector. */
export function gatedFfnOpType(variant: GatedFfnVariant): string {
  const { selector, storage, masked, decode, gather, normed } = variant;
  const chooser = selectorOf(selector);
  if (!isForStorage(selector, storage))
    throw new RangeError(
      `Selector ${selector.kind} is for storage ${chooser.storages?.join(' or ')}, not for ${storage}`,
    );
  const flags = [
    ...chooser.flags(selector),
    ...(masked ? ['masked'] : []),
    ...(decode ? ['decode'] : []),
    ...(gather || !chooser.gathers || storageOf(storage).gathered === undefined ? [] : ['whole']),
    ...(normed ? ['normed'] : []),
    ...(isCounted(variant) ? [COUNTED] : []),
  ];
  return ['GatedFFN', selector.kind, storage, ...flags].join('_');
}

const COUNTED = 'counted';

function isCounted({ selector, counted }: GatedFfnVariant): boolean {
  return counted && selector.kind !== 'none';
}

/** Whether a node calls GatedFFN with a selector that chooses. */
export function choosesNeurons({ domain, opType }: Node): boolean {
  return domain === LACUNA_DOMAIN && opType.startsWith('GatedFFN_') && !opType.startsWith('GatedFFN_none_');
}

/** The name of its count, where a node has that output. */
export function countOf({ outputs }: Node): string | undefined {
  return outputs[contractOf('GatedFFN').outputs.indexOf('kept')] || undefined;
}

/** A calling node as the same call of the variant that counts, `kept` naming its count. */
export function countedNode(node: Node, kept: string): Node {
  const at = contractOf('GatedFFN').outputs.indexOf('kept');
  const before = Array.from({ length: at }, (_, output) => node.outputs[output] ?? '');
  const outputs = [...before, kept, ...node.outputs.slice(at + 1)];
  return { ...node, opType: `${node.opType}_${COUNTED}`, outputs };
}

export interface GatedFfnCall {
  readonly node: string;
  readonly inputs: InputValues<'GatedFFN'>;
  readonly outputs: OutputValues<'GatedFFN'>;
  /** Q(1 - density), for selector `statistical`. */
  readonly quantile?: number;
  /** Of the post-norm, and of the norm before. */
  readonly epsilon?: number;
  readonly normEpsilon?: number;
  /** h and f, for storages whose weights do not show them. */
  readonly sizes?: { readonly hidden: number; readonly neurons: number };
}

/**
 * The outputs that a variant has. Each costs nodes whether a caller wants it or not, so the saturation is left to masked
 * variants, whose model skips by it, and the count to those that are measured.
 */
export function gatedFfnOutputs(variant: GatedFfnVariant): OutputName<'GatedFFN'>[] {
  return [
    'y',
    ...(variant.masked ? (['saturation'] as const) : []),
    ...(isCounted(variant) ? (['kept'] as const) : []),
    ...(variant.normed ? (['sum'] as const) : []),
  ];
}

/** The node that calls a variant; throws a RangeError when its inputs are not those that the variant reads. */
export function gatedFfnNode(variant: GatedFfnVariant, call: GatedFfnCall): Node {
  checkInputs(variant, call.inputs);
  const { selector, activation } = variant;
  const predicted = selector.kind === 'predictor';
  const sized = storageOf(variant.storage).sized || predicted;
  return callNode('GatedFFN', {
    ...call,
    opType: gatedFfnOpType(variant),
    attributes: {
      activation: attr.string(activation),
      ...(selector.kind === 'statistical' && {
        quantile: attr.float(wanted(call.quantile)),
        mode: attr.string(selector.mode),
      }),
      ...('scale' in selector && { scale: attr.string(selector.scale) }),
      ...(variant.postNorm && { epsilon: attr.float(wanted(call.epsilon)) }),
      ...(variant.normed && { norm_epsilon: attr.float(wanted(call.normEpsilon)) }),
      ...(sized && {
        hidden_size: attr.int(wanted(call.sizes?.hidden)),
        intermediate_size: attr.int(wanted(call.sizes?.neurons)),
        gate_up_size: attr.int(2 * wanted(call.sizes?.neurons)),
      }),
    },
  });
}

function wanted(value: number | undefined): number {
  if (value === undefined) throw new RangeError('GatedFFN lacks an attribute that its variant reads');
  return value;
}

function checkInputs(variant: GatedFfnVariant, inputs: InputValues<'GatedFFN'>): void {
  const opType = gatedFfnOpType(variant);
  const reads = inputsRead(variant);
  for (const { name } of contractOf('GatedFFN').inputs) {
    if (inputs[name] === undefined && reads.has(name)) throw new RangeError(`${opType} lacks input ${name}`);
    if (inputs[name] !== undefined && !reads.has(name)) throw new RangeError(`${opType} does not read input ${name}`);
  }
}

function inputsRead(variant: GatedFfnVariant): ReadonlySet<keyof InputValues<'GatedFFN'>> {
  return new Set([
    'x' as const,
    ...storageOf(variant.storage).projections,
    ...(variant.gateBias ? (['gate_bias'] as const) : []),
    ...(variant.upBias ? (['up_bias'] as const) : []),
    ...(variant.downBias ? (['down_bias'] as const) : []),
    ...(variant.normed ? (['skip', 'norm'] as const) : []),
    ...(variant.masked ? (['active'] as const) : []),
    // Of a stream that is added up here the sum is at hand.
    ...(variant.masked && !variant.normed ? (['residual'] as const) : []),
    ...(variant.postNorm ? (['post_norm'] as const) : []),
    ...selectorOf(variant.selector).inputs,
    ...storageOf(variant.storage).inputs,
    ...(hasRecords(variant) ? (['records'] as const) : []),
  ]);
}

function hasRecords({ selector, storage }: GatedFfnVariant): boolean {
  return storageOf(storage).hasRecords && recordedBy(selector).length > 0;
}

/** What is in the records of a node with this selector, in storages that have records; there are none where that is nothing. */
export function recordedBy(selector: SelectorChoice): readonly FfnMatrix[] {
  return selectorOf(selector).recorded;
}

/** The portable body of a variant. */
export function gatedFfnFunction(variant: GatedFfnVariant): OpFunction {
  const stream = variant.normed ? 'n = norm(sum), sum = x + skip' : 'n = x';
  const doc = `y = down(act(gate n) * up n) over the chosen neurons, ${stream}; saturation = cos(residual, residual + y).`;
  return opFunction('GatedFFN', gatedFfnOpType(variant), doc, gatedFfnOutputs(variant), (g) => {
    const runDense = variant.decode ? hasManyTokens(g) : undefined;
    const { x, residual } = variant.normed ? normedStream(g) : { x: 'x', residual: 'residual' };
    const run = (b: GraphBuilder) => writeBlock(b, variant, x, runDense);
    const { branches } = storageOf(variant.storage);
    if (variant.masked) {
      const hidden = hiddenSize(g, variant);
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
    attributes: { epsilon: attr.reference('norm_epsilon', 'float') },
    outputs: [g.fresh('normed'), '', '', 'sum'],
  });
  return { x, residual };
}

/** int64 [1], known on loading. */
function hiddenSize(g: GraphBuilder, { storage }: GatedFfnVariant): string {
  return storageOf(storage).sized ? sizeAttribute(g, 'hidden_size') : axisSize(g, 'down', 1);
}

/** bool [1]: more than one token a row. */
function hasManyTokens(g: GraphBuilder): string {
  return g.op('Greater', [axisSize(g, 'x', 1), g.int64(1)], { outputs: ['many_tokens'] });
}

function writeBlock(g: GraphBuilder, variant: GatedFfnVariant, x: string, runDense: string | undefined): BlockValues {
  const { selector: choice, activation, upBias } = variant;
  const storage = storageFor(variant);
  const biases = { gate: variant.gateBias ? 'gate_bias' : undefined, up: upBias ? 'up_bias' : undefined };
  const withBias = (projection: Projection, value: string) => addBias(g, value, biases[projection]);
  const product = projector(g, storage, x);
  const project = (projection: Projection) => withBias(projection, product(g, projection));
  const neurons = () => neuronCount(g, storage);
  const context = { x, activation, neurons, runDense, project, withBias };
  const selection = once(selectorOf(choice).select(g, choice, context));
  const values = { x, up: (b: GraphBuilder) => product(b, 'up'), upBias, storage };
  const biased = addBias(g, down(g, variant, values, selection), variant.downBias ? 'down_bias' : undefined);
  const { chosen } = selection;
  return {
    y: variant.postNorm ? postNorm(g, biased) : biased,
    kept: chosen && variant.counted ? count(g, chosen()) : undefined,
  };
}

function storageFor(variant: GatedFfnVariant): StorageKind {
  const storage = storageOf(variant.storage);
  const isRecorded = recordedBy(variant.selector).includes('down');
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

/** RMS norm by input `post_norm` and attribute `epsilon`. */
export function postNorm(g: GraphBuilder, y: string): string {
  return g.op('SimplifiedLayerNormalization', [y, 'post_norm'], {
    attributes: { axis: attr.int(-1), epsilon: attr.reference('epsilon', 'float'), stash_type: attr.int(1) },
  });
}
