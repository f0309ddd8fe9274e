/** Activations of gated FFNs: their contract names, and the functions themselves. */
import { attr } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';

/** x -> activation(x), in one node each. */
const EMITTERS = {
  // x * sigmoid(alpha x) with alpha = 1.
  silu: (g, x) => g.contrib('QuickGelu', [x], { attributes: { alpha: attr.float(1) } }),
  gelu_tanh: (g, x) => g.op('Gelu', [x], { attributes: { approximate: attr.string('tanh') } }),
  gelu: (g, x) => g.op('Gelu', [x], { attributes: { approximate: attr.string('none') } }),
  relu: (g, x) => g.op('Relu', [x]),
  // Of up too (`activateUp`).
  drelu: (g, x) => g.op('Relu', [x]),
} satisfies Readonly<Record<string, (g: GraphBuilder, x: string) => string>>;

export type Activation = keyof typeof EMITTERS;

export const ACTIVATIONS = Object.keys(EMITTERS) as readonly Activation[];

export function activate(g: GraphBuilder, activation: Activation, x: string): string {
  return EMITTERS[activation](g, x);
}

/** What act(gate) is multiplied with: up, or relu(up) with dReLU (Song et al. 2024, "Turbo Sparse", section 3). */
export function activateUp(g: GraphBuilder, activation: Activation, up: string): string {
  return activation === 'drelu' ? g.op('Relu', [up]) : up;
}
