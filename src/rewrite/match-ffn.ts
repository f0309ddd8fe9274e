/** Finds a layer's gated FFN in a graph by its taps, and makes sure that it is what its names say. */
import type { Initializer, Node } from '../core/graph.ts';
import { type Tap, tapName } from '../core/model.ts';
import { floatAbove } from '../core/next-float.ts';
import { ACTIVATIONS, type Activation, operatorOf } from '../ops/index.ts';
import {
  activatedAsTrained,
  blockProduct,
  ffnPattern,
  floatProduct,
  type InputParts,
  narrowProduct,
  type Storages,
  sumNorm,
} from './block-patterns.ts';
import type { GraphIndex } from './graph-index.ts';
import { any, type Match, matchPattern, numberOf, type Refusal } from './pattern.ts';
import { type StoredWeight, storedWeight } from './stored-weight.ts';

/** x -> down(act(gate x) * up x), whose gates may be cut, with what it is made of; weights in HF layout, [out, in]. */
export interface FfnMatch {
  readonly kind: 'match';
  /** Values that go in: the normed input and the residual stream. */
  readonly x: string;
  readonly residual: string;
  /** The value that comes out, after the post-norm. */
  readonly output: string;
  readonly activation: Activation;
  /** What the model itself leaves out. */
  readonly trained: TrainedChoice | undefined;
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;
  /** Entries of x, of which the gate reads the first where up reads the others. */
  readonly hidden: number;
  readonly gateInputs: number | undefined;
  readonly postNorm: Norm | undefined;
  /** What adds up the residual stream and makes x of it, where the block takes that along. */
  readonly norm: StreamNorm | undefined;
  /** All that the block takes the place of. Where the first is, all that it reads has been made, and nothing that it makes is read. */
  readonly nodes: readonly Node[];
}

/**
 * What a block was trained to leave out, which changes none of its numbers.
 *
 * - `deviation`: gates below mean + deviation * quantile are 0, and the others are less by that.
 * - `threshold`: activations below it are 0, and the others are as they were.
 * - `zeros`: activations are 0 or positive.
 */
export type TrainedChoice =
  | { readonly by: 'deviation'; readonly quantile: number }
  | { readonly by: 'threshold'; readonly threshold: number }
  | { readonly by: 'zeros' };

export interface Norm {
  readonly weight: Initializer;
  readonly epsilon: number;
}

/** x = norm(added + skip), residual = added + skip. */
export interface StreamNorm extends Norm {
  readonly added: string;
  readonly skip: string;
}

export interface Linear {
  readonly weight: StoredWeight;
  readonly bias: Initializer | undefined;
}

const VECTORS = ['float32', 'float16', 'bfloat16'] as const;
const ANY: Storages = { products: [floatProduct, narrowProduct, blockProduct], vectors: VECTORS };
const plain = (parts?: InputParts) => ffnPattern(ANY, any, activatedAsTrained, parts);
/** Graphs in float16 would have to cast more than taking the norm along is worth. */
const FLOAT32: Storages = { products: [floatProduct, blockProduct], vectors: VECTORS };
const withNorm = (parts?: InputParts) => ffnPattern(FLOAT32, sumNorm(FLOAT32), activatedAsTrained, parts);
const PLAIN = plain();
const WITH_NORM = withNorm();

/**
 * Matches `ffnPattern` backwards from the tap `ffn_out`; with it the norm that makes `ffn_in` and `ffn_residual`, where
 * the FFN alone reads `ffn_in`, unless `keepsNorm`. Refuses what does not fit the pattern, and weights that do not fit each
 * other.
 */
export function matchFfn(index: GraphIndex, layer: number, keepsNorm = false): FfnMatch | Refusal {
  const tap = (name: Tap) => tapName(layer, name);
  const [x, residual, output] = [tap('ffn_in'), tap('ffn_residual'), tap('ffn_out')];
  const missing = [x, residual].find((value) => index.producer(value) === undefined);
  const maker = index.producer(output);
  if (maker !== undefined && operatorOf(maker) === 'GatedFFN')
    return { kind: 'refused', reason: `${maker.name} is one operator already; plans want the checkpoint` };
  if (missing !== undefined) return { kind: 'refused', reason: `there is no ${missing}` };
  const given = { n: x, gate: tap('gate'), act: tap('act'), up: tap('up') };
  const parts = partsOf(index, x);
  const matchNormed = () =>
    matchPattern(index, parts === undefined ? WITH_NORM : withNorm(parts), {
      from: [output],
      given: { ...given, sum: residual },
      open: ['sum'],
    });
  const normed = keepsNorm ? undefined : matchNormed();
  const found =
    normed?.kind === 'match'
      ? normed
      : matchPattern(index, parts === undefined ? PLAIN : plain(parts), { from: [output], given });
  if (found.kind === 'refused') return found;
  const [gate, up, down] = ['gate', 'up', 'down'].map((role) => linearOf(found, role));
  const reason = misfitOf(gate, up, down, parts) ?? negativeThreshold(found);
  if (reason !== undefined) return { kind: 'refused', reason };
  const { x: added, skip } = found.values;
  const streamNorm = normOf(found, 'norm', 'epsilon');
  const norm = streamNorm && added !== undefined && skip !== undefined ? { ...streamNorm, added, skip } : undefined;
  const place = index.producer(norm === undefined ? output : x);
  return {
    kind: 'match',
    x,
    residual,
    output,
    gate,
    up,
    down,
    hidden: down.weight.shape[0],
    gateInputs: parts?.gateInputs,
    norm,
    activation: activationOf(found),
    trained: trainedOf(found),
    postNorm: normOf(found, 'post_norm', 'post_epsilon'),
    nodes: found.nodes.toSorted((a, b) => Number(b === place) - Number(a === place)),
  };
}

/** The parts of x that gate and up read, where two nodes cut it in two. */
function partsOf(index: GraphIndex, x: string): InputParts | undefined {
  const cuts = index.consumers(x).filter(({ opType }) => opType === 'Slice');
  const [first, rest] = cuts.map((node) => [numberIn(index, node.inputs[1]), numberIn(index, node.inputs[2])]);
  if (first?.[0] !== 0 || rest === undefined || first[1] === undefined || rest[1] === undefined) return undefined;
  return { gateInputs: first[1], hidden: rest[1] };
}

/** The one number of a constant. */
function numberIn(index: GraphIndex, value: string): number | undefined {
  const constant = index.producer(value)?.attributes.value;
  if (constant?.kind !== 'tensor' || constant.value.kind !== 'bytes' || constant.value.dtype !== 'int64')
    return undefined;
  const { bytes } = constant.value;
  return bytes.length === 8 ? Number(new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true)) : undefined;
}

function trainedOf(match: Match): TrainedChoice | undefined {
  if (match.attributes.quantile !== undefined) return { by: 'deviation', quantile: numberOf(match, 'quantile') };
  if (match.attributes.threshold_below !== undefined)
    return { by: 'threshold', threshold: floatAbove(numberOf(match, 'threshold_below')) };
  return ['relu', 'drelu'].includes(activationOf(match)) ? { by: 'zeros' } : undefined;
}

function negativeThreshold(match: Match): string | undefined {
  if (match.attributes.threshold_below === undefined) return undefined;
  const below = numberOf(match, 'threshold_below');
  return below >= 0 && below < Number.POSITIVE_INFINITY
    ? undefined
    : `gates up to ${below} become 0, wanted all negative ones`;
}

function activationOf({ attributes: { activation } }: Match): Activation {
  const found = ACTIVATIONS.find((name) => activation?.value.kind === 'string' && activation.value.value === name);
  if (found === undefined) throw new RangeError('The pattern sets no activation');
  return found;
}

function linearOf(match: Match, role: string): Linear {
  return { weight: storedWeight(match, role), bias: match.tensors[`${role}_bias`] };
}

function normOf(match: Match, role: string, epsilon: string): Norm | undefined {
  const weight = match.tensors[role];
  return weight && { weight, epsilon: numberOf(match, epsilon) };
}

function misfitOf(gate: Linear, up: Linear, down: Linear, parts: InputParts | undefined): string | undefined {
  const [neurons, read] = gate.weight.shape;
  const [hidden] = down.weight.shape;
  const fits = ({ weight: { shape, storage } }: Linear, rows: number, columns: number) =>
    shape[0] === rows && shape[1] === columns && storage === gate.weight.storage;
  const { gateInputs, hidden: whole } = parts ?? { gateInputs: undefined, hidden };
  const isRead = read === (gateInputs ?? hidden) && whole === hidden;
  if (
    isRead &&
    fits(up, neurons, gateInputs === undefined ? hidden : hidden - gateInputs) &&
    fits(down, hidden, neurons)
  )
    return undefined;
  const shown = [gate, up, down].map(({ weight }) => `${weight.storage} [${weight.shape}]`);
  return `gate, up and down are ${shown.join(', ')}`;
}
