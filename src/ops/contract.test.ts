import { describe, expect, it } from 'vitest';
import { attr } from '../core/graph.ts';
import { callNode, inputOf, OPERATORS, operatorOf, opTypeOf, outputOf } from './contract.ts';

describe('operator contracts', () => {
  it('name every input and output of an operator once', () => {
    for (const { inputs, outputs } of OPERATORS) {
      const names = [...inputs, ...outputs].map(({ name }) => name);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it('have names that fit on a page, as many as libraries of this version register', () => {
    expect(Object.fromEntries(OPERATORS.map(({ name, bodies }) => [name, bodies]))).toEqual({
      StatisticalTopK: 2,
      GatedFFN: 16,
      FFNSkipStart: 1,
      FFNSkipStep: 1,
      NormAttention: 8,
      NormProduct: 4,
      SparkAttention: 2,
    });
    expect(operatorOf({ domain: 'lacuna', opType: opTypeOf('NormAttention', 3) })).toBe('NormAttention');
    for (const opType of ['NormAttention', 'NormAttention_1_0', 'NormAttention_2', 'Other_2_0'])
      expect(operatorOf({ domain: 'lacuna', opType })).toBeUndefined();
    expect(operatorOf({ domain: '', opType: opTypeOf('NormAttention', 3) })).toBeUndefined();
  });
});

describe('callNode', () => {
  const weights = { x: 'x0', gate: 'g', up: 'u', down: 'd' };

  it('puts values at their positions, leaves gaps empty and the end off', () => {
    const node = callNode('GatedFFN', {
      node: 'ffn',
      opType: 'GatedFFN_2_0',
      inputs: { ...weights, norm: 'n' },
      outputs: { y: 'y0', kept: 'k0' },
      attributes: { activation: attr.string('silu'), epsilon: undefined },
    });
    expect(node.inputs).toEqual(['x0', '', 'n', '', '', 'g', '', '', 'u', '', '', 'd']);
    expect(inputOf('GatedFFN', node, 'up')).toBe('u');
    expect(inputOf('GatedFFN', node, 'threshold')).toBe('');
    expect(outputOf('GatedFFN', node, 'kept')).toBe('k0');
    expect(node.outputs).toEqual(['y0', '', '', 'k0']);
    expect(node).toMatchObject({ name: 'ffn', domain: 'lacuna', opType: 'GatedFFN_2_0' });
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
