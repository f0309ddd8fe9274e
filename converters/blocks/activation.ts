/** Activations of gated FFNs, by their names in configs. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { floatBelow } from '../../src/core/next-float.ts';

/** Config's `hidden_act` -> our one name for each function. Later stages know only the names on the right. */
export const ACTIVATIONS = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
} as const;

/**
 * FATReLU (Kurtz et al. 2020, "Inducing and Exploiting Activation Sparsity for Fast Inference"): x where it is at least a
 * threshold, else 0. ProSparse's configs give the threshold in `hidden_act_param`.
 */
export const THRESHOLDED = { fatrelu: 'relu' } as const satisfies Readonly<Record<string, Activation>>;

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

/** x where it is at least `threshold`, a float32 above 0; else 0. */
export function thresholdedRelu(g: GraphBuilder, x: string, threshold: number, output: string): string {
  // The operator leaves out alpha itself.
  const attributes = { alpha: attr.float(floatBelow(threshold)) };
  return g.op('ThresholdedRelu', [x], { attributes, outputs: [output] });
}
