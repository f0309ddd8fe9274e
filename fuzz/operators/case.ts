/** Cases of a seed: sound calls of an operator with some changes. */
import { createRandom, type Random, randomOfCase } from '../harness/random.ts';
import { type Draws, FAMILIES } from './families.ts';
import type { HostileNode } from './hostile-node.ts';
import { ATTRIBUTE_MUTATIONS, CALL_MUTATIONS, type Mutation, NODE_MUTATIONS } from './mutations.ts';
import { STOCK_FAMILIES } from './stock.ts';

/** The materials for successive calls in one session, because opening a session takes longer than many calls. */
export interface Group {
  readonly index: number;
  readonly node: HostileNode;
  /** Thread settings of ONNX Runtime. */
  readonly threads: number;
}

export interface OperatorCase {
  readonly group: Group;
  readonly node: HostileNode;
  /** Whether the node differs from the group's. It then needs a session of its own. */
  readonly isOwn: boolean;
  /** Names of the changes, in order. A node without changes must run. */
  readonly changes: readonly string[];
  /** Whether results are written over an input of the same size, as caches are. */
  readonly isInPlace: boolean;
}

/**
 * Cases in a group, and how many of them have a session of their own. The first of these is an operator of ONNX
 * Runtime's.
 */
const GROUP = 512;
const OWN = 8;

/** One case of this number stays sound. If the sound ones were refused, the others would show nothing. */
const SOUND = 0.1;
const MOST_CHANGES = 3;

/** Groups and cases use different numbers for drawing. */
const GROUPS_FROM = 2 ** 30;

export function chooseCase(seed: number, index: number): OperatorCase {
  const number = Math.floor(index / GROUP);
  const draw = drawsOf(seed, number);
  const call = randomOfCase(seed, index);
  const isOwn = index % GROUP < OWN;
  const isStock = index % GROUP === 0;
  const sound = isStock ? call.pick(STOCK_FAMILIES)(call) : draw(call);
  const changes = !isOwn && call.chance(SOUND) ? [] : changesOf(call, mutationsOf(isOwn, isStock));
  return {
    group: { index: number, node: draw(randomOfCase(seed, number * GROUP)), threads: 1 + (number % 2) },
    node: changes.reduce((node, { apply }) => apply(node, call), sound),
    isOwn,
    changes: changes.map(({ name }) => name),
    isInPlace: call.chance(0.3),
  };
}

function changesOf(random: Random, mutations: readonly Mutation[]): readonly Mutation[] {
  const count = 1 + random.int(MOST_CHANGES);
  return Array.from({ length: count }, () => random.weighted(mutations));
}

/** For ONNX Runtime's own operators, only attributes are checked before they run. */
function mutationsOf(isOwn: boolean, isStock: boolean): readonly Mutation[] {
  if (isStock) return ATTRIBUTE_MUTATIONS;
  return isOwn ? NODE_MUTATIONS : CALL_MUTATIONS;
}

/** Sound nodes of one group, which differ only in their tensors. */
function drawsOf(seed: number, group: number): (call: Random) => HostileNode {
  const chosen = randomOfCase(seed, GROUPS_FROM + group);
  const { make } = chosen.weighted(FAMILIES);
  const areConstant = chosen.chance(0.5);
  const [variantSeed, sizesSeed] = [chosen.seed(), chosen.seed()];
  return (call) => {
    const sizes = areConstant ? createRandom(sizesSeed) : call;
    const draws: Draws = { variant: createRandom(variantSeed), sizes, call, areConstant };
    return make(draws);
  };
}
