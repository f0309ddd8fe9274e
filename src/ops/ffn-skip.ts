/**
 * FFNSkipStart and FFNSkipStep: FFN-SkipLLM's state (2404.03865, section 3), one int32 a token, handed from one
 * skippable block to the next.
 *
 * State n > 0: the next n blocks are skipped; 0: armed, the block runs and is tested; -1: this token skips nothing
 * any more, because it is in the warm-up or its run is over and does not re-arm. A block is active where state <= 0.
 */
import { attr, type Node } from '../core/graph.ts';
import type { GraphBuilder } from '../core/graph-builder.ts';
import type { Body } from './bodies.ts';
import { axisSize, int32Attribute, operatorBody } from './body.ts';
import { callNode, type PlainCall } from './contract.ts';

export interface FfnSkipStartCall extends PlainCall<'FFNSkipStart'> {
  /** Calls with more than one token a row skip nothing. */
  readonly densePrefill: boolean;
  readonly warmUpTokens: number;
}

export function ffnSkipStartNode({ densePrefill, warmUpTokens, ...call }: FfnSkipStartCall): Node {
  const attributes = { warm_up: attr.int(warmUpTokens), ...(densePrefill && { dense_prefill: attr.int(1) }) };
  return callNode('FFNSkipStart', { ...call, attributes });
}

/** position_ids int64 [b, s] -> state int32, active bool: tokens at positions below warm_up start at -1, others at 0. */
export function ffnSkipStartBody(densePrefill: boolean): Body {
  return operatorBody('FFNSkipStart', 'The skip state before the first block.', ['state', 'active'], (g) => {
    const warmUp = g.op('Constant', [], { attributes: { value_int: attr.reference('warm_up', 'int') } });
    const early = g.op('Less', ['position_ids', warmUp]);
    const never = densePrefill ? g.op('Or', [early, hasManyTokens(g)]) : early;
    g.op('Neg', [g.cast(never, 'int32')], { outputs: ['state'] });
    isActive(g, 'state', 'active');
  });
}

function hasManyTokens(g: GraphBuilder): string {
  return g.op('Greater', [axisSize(g, 'position_ids', 1), g.int64(1)]);
}

function isActive(g: GraphBuilder, state: string, output: string): void {
  g.op('LessOrEqual', [state, g.int32Scalar(0)], { outputs: [output] });
}

export interface FfnSkipStepCall extends PlainCall<'FFNSkipStep'> {
  readonly runLength: number;
  /** Whether a run that is over arms the token again. */
  readonly reArm: boolean;
}

export function ffnSkipStepNode({ runLength, reArm, ...call }: FfnSkipStepCall): Node {
  return callNode('FFNSkipStep', {
    ...call,
    attributes: { run_length: attr.int(runLength), re_arm: attr.int(reArm ? 1 : 0) },
  });
}

/**
 * state int32 [b, s], saturation float [b, s] of the block just passed, threshold float [] -> the state and active
 * of the next block: n > 0 counts down, and without re-arming from 1 to -1; 0 becomes run_length where
 * saturation >= threshold; -1 stays.
 */
export function ffnSkipStepBody(reArm: boolean): Body {
  return operatorBody('FFNSkipStep', 'The skip state after a block.', ['next_state', 'next_active'], (g) => {
    const zero = g.int32Scalar(0);
    const one = g.int32Scalar(1);
    // n - 1 for n > 0, and 0 and -1 as they are.
    const counted = g.op('Sub', ['state', g.op('Clip', ['state', zero, one])]);
    const rested = reArm ? counted : g.op('Where', [g.op('Equal', ['state', one]), g.int32Scalar(-1), counted]);
    const passes = g.op('And', [g.op('Equal', ['state', zero]), g.op('GreaterOrEqual', ['saturation', 'threshold'])]);
    g.op('Where', [passes, int32Attribute(g, 'run_length'), rested], { outputs: ['next_state'] });
    isActive(g, 'next_state', 'next_active');
  });
}
