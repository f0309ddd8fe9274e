/** Activations of gated FFNs: their contract names, their nodes, and the functions themselves. */
import { attr } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';

interface ActivationContract {
  readonly name: string;
  /** x -> activation(x), in one node. */
  readonly emit: (g: GraphBuilder, x: string) => string;
}

export const ACTIVATIONS = [
  // x * sigmoid(alpha x) with alpha = 1.
  { name: 'silu', emit: (g, x) => g.contrib('QuickGelu', [x], { attributes: { alpha: attr.float(1) } }) },
  {
    name: 'gelu_tanh',
    emit: (g, x) => g.op('Gelu', [x], { attributes: { approximate: attr.string('tanh') } }),
  },
  { name: 'gelu', emit: (g, x) => g.op('Gelu', [x], { attributes: { approximate: attr.string('none') } }) },
  { name: 'relu', emit: (g, x) => g.op('Relu', [x]) },
] as const satisfies readonly ActivationContract[];

export type Activation = (typeof ACTIVATIONS)[number]['name'];

export const ACTIVATION_NAMES: readonly Activation[] = ACTIVATIONS.map(({ name }) => name);

export function activate(g: GraphBuilder, activation: Activation, x: string): string {
  const found = ACTIVATIONS.find(({ name }) => name === activation);
  if (found === undefined) throw new RangeError(`No activation ${activation}`);
  return found.emit(g, x);
}
