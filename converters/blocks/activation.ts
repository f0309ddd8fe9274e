/** Activations of gated FFNs, by their names in configs. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';

/** Config's `hidden_act` -> our one name for each function. Later stages know only the names on the right. */
export const ACTIVATIONS = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
} as const;

export type HiddenAct = keyof typeof ACTIVATIONS;
export type Activation = (typeof ACTIVATIONS)[HiddenAct];

export function activate(g: GraphBuilder, x: string, activation: Activation, output: string): string {
  const outputs = [output];
  switch (activation) {
    case 'silu':
      // Standard operators run everywhere. ONNX Runtime fuses the two into one QuickGelu with the same value.
      return g.op('Mul', [x, g.op('Sigmoid', [x])], { outputs });
    case 'gelu':
      return g.op('Gelu', [x], { attributes: { approximate: attr.string('none') }, outputs });
    case 'gelu_tanh':
      return g.op('Gelu', [x], { attributes: { approximate: attr.string('tanh') }, outputs });
    case 'relu':
      return g.op('Relu', [x], { outputs });
  }
}
