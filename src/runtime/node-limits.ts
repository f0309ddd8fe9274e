/**
 * Attributes with which ONNX Runtime's own operators end the process instead of refusing them: divisors whose lower 32
 * bits are 0. The check runs before a model is opened, because no error could be caught afterwards.
 */
import { LacunaError } from '../core/errors.ts';
import type { ModelNumbers, NodeNumbers } from '../core/graph.ts';
import { MOST_HEADS } from '../core/limits.ts';

interface Limit {
  readonly attribute: string;
  readonly least: number;
  readonly most: number;
}

/** By operator. */
type Limits = ReadonlyMap<string, readonly Limit[]>;

const heads = (attribute: string): Limit => ({ attribute, least: 1, most: MOST_HEADS });

/** Bits of a weight, and weights that share a scale. No release takes others. */
const blocks: readonly Limit[] = [
  { attribute: 'bits', least: 2, most: 8 },
  { attribute: 'block_size', least: 16, most: 65_536 },
];

const LIMITS: Limits = new Map([
  // The size of a head is that of an input divided by the number of heads.
  ['com.microsoft.GroupQueryAttention', [heads('num_heads'), heads('kv_num_heads')]],
  // Sizes of codes and scales are divided by both.
  ['com.microsoft.GatherBlockQuantized', blocks],
  ['com.microsoft.MatMulNBits', blocks],
]);

/** Throws `bad-file` for a model with an attribute that would end the process; `path` is what it is called. */
export function checkNumbers({ nodes, functions }: ModelNumbers, path: string): void {
  const limits = withCallers(functions);
  for (const node of [...nodes, ...functions.flatMap((body) => body.nodes)]) {
    for (const { attribute, least, most } of limits.get(keyOf(node)) ?? []) {
      const value = node.ints[attribute];
      if (value === undefined || (value >= least && value <= most)) continue;
      throw new LacunaError(
        'bad-file',
        `${path}: expected ${least} to ${most} for ${attribute} of ${node.opType} "${node.name}" but found ${value}`,
      );
    }
  }
}

/** The limits, also of what functions hand on to such attributes; functions may call each other. */
function withCallers(functions: ModelNumbers['functions']): Limits {
  const limits = new Map(LIMITS);
  for (let round = 0, grown = true; grown && round <= functions.length; round++) {
    grown = false;
    for (const { domain, name, nodes } of functions) {
      const key = `${domain}.${name}`;
      const known = limits.get(key) ?? [];
      const handed = nodes.flatMap((node) => handedOn(node, limits.get(keyOf(node)) ?? []));
      const further = handed.filter((limit) => !known.some(({ attribute }) => attribute === limit.attribute));
      if (further.length === 0) continue;
      limits.set(key, [...known, ...further]);
      grown = true;
    }
  }
  return limits;
}

function handedOn({ references }: NodeNumbers, limits: readonly Limit[]): Limit[] {
  return limits.flatMap((limit) => {
    const attribute = references[limit.attribute];
    return attribute === undefined ? [] : [{ ...limit, attribute }];
  });
}

function keyOf({ domain, opType }: NodeNumbers): string {
  return `${domain}.${opType}`;
}
