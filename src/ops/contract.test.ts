import { describe, expect, it } from 'vitest';
import { attr } from '../core/graph.ts';
import { callNode, OPERATORS } from './contract.ts';

describe('operator contracts', () => {
  it('name every input and output of an operator once', () => {
    for (const { inputs, outputs } of OPERATORS) {
      const names = [...inputs.map(({ name }) => name), ...outputs];
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it('keep the positions that kernels are compiled against', () => {
    const [, gated] = OPERATORS;
    expect(gated.inputs.map(({ name }) => name).join(' ')).toBe(
      'x gate up down gate_bias up_bias down_bias active residual post_norm threshold weights predictor predictor_scales ' +
        'gate_up gate_up_scales records down_columns down_columns_scales gate_up_lower skip norm',
    );
    expect(gated.outputs).toEqual(['y', 'saturation', 'kept', 'sum']);
  });
});

describe('callNode', () => {
  const weights = { x: 'x0', gate: 'g', up: 'u', down: 'd' };

  it('puts values at their positions, leaves gaps empty and the end off', () => {
    const node = callNode('GatedFFN', {
      node: 'ffn',
      opType: 'GatedFFN_threshold_fp32',
      inputs: { ...weights, threshold: 't' },
      outputs: { y: 'y0', kept: 'k0' },
      attributes: { activation: attr.string('silu'), epsilon: undefined },
    });
    expect(node.inputs).toEqual(['x0', 'g', 'u', 'd', '', '', '', '', '', '', 't']);
    expect(node.outputs).toEqual(['y0', '', 'k0']);
    expect(node).toMatchObject({ name: 'ffn', domain: 'lacuna', opType: 'GatedFFN_threshold_fp32' });
    expect(node.attributes).toEqual({ activation: attr.string('silu') });
  });

  it('does not compile with an input or output of another operator, or without a required one', () => {
    const call = { node: 'n', opType: 't', attributes: {} };
    // @ts-expect-error `state` is an input of FFNSkipStep.
    callNode('GatedFFN', { ...call, inputs: { ...weights, state: 's' }, outputs: { y: 'y' } });
    // @ts-expect-error GatedFFN has no output `next_state`.
    callNode('GatedFFN', { ...call, inputs: weights, outputs: { next_state: 's' } });
    // @ts-expect-error `x` is missing.
    callNode('GatedFFN', { ...call, inputs: { gate: 'g', up: 'u', down: 'd' }, outputs: { y: 'y' } });
  });
});
