/**
 * Selector `nested`: chooses as `predictor` does, by a predictor that is part of the weights and takes no memory of its own. gate
 * and up of storage int8 come in two planes of 4 bits, W = upper + lower / 16, each uint8 [f, blocks, 16] as storage int4 has
 * them, with one scale a block for both. Inputs `gate` and `up` are the upper planes, rounded to the nearest, so that each alone
 * is the matrix in 4 bits; `gate_lower` and `up_lower` are what these lack.
 *
 * A kernel reads the upper planes, and of chosen neurons the rows of the lower ones, from the records. The body computes both planes.
 */
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { activate } from '../activations.ts';
import { blockProduct } from './block-storage.ts';
import { chosenByScore, scaleFlags, type ThresholdScale } from './score.ts';
import type { Selector } from './selection.ts';
import type { Projection } from './storage.ts';

export interface NestedSettings {
  readonly kind: 'nested';
  readonly scale: ThresholdScale;
}

export const nested: Selector<NestedSettings> = {
  kind: 'nested',
  storages: ['int8'],
  flags: ({ scale }) => scaleFlags(scale),
  inputs: ['threshold', 'weights', 'gate_lower', 'up_lower'],
  recorded: ['gate', 'up', 'down'],
  gathers: false,
  select(g, { scale }, { x, activation, runDense, withBias }) {
    const gate = planeProduct(g, x, 'gate', 'gate');
    const up = planeProduct(g, x, 'up', 'up');
    const products = (gateProduct: string, upProduct: string) =>
      g.op('Mul', [activate(g, activation, withBias('gate', gateProduct)), withBias('up', upProduct)]);
    const chosen = chosenByScore(g, products(gate, up), scale, runDense);
    const whole = products(withLower(g, x, 'gate', gate), withLower(g, x, 'up', up));
    return { products: g.op('Mul', [whole, chosen]), chosen: () => chosen };
  },
};

type Plane = Projection | `${Projection}_lower`;

/** x times a plane, [b, s, f]. */
function planeProduct(g: GraphBuilder, x: string, projection: Projection, plane: Plane): string {
  const weight = [plane, `${projection}_scales`] as const;
  return blockProduct(g, x, weight, 4, ['hidden_size', 'intermediate_size'], g.fresh('plane'));
}

/** x times both planes, of which `upper` is the one. */
function withLower(g: GraphBuilder, x: string, projection: Projection, upper: string): string {
  const lower = planeProduct(g, x, projection, `${projection}_lower`);
  return g.op('Add', [upper, g.op('Mul', [lower, g.float(1 / 16)])]);
}
