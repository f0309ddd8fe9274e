/** Runs a block for active tokens only: gathered into one row, computed, scattered back among zeros. */
import { attr, type ValueInfo } from '../../core/graph.ts';
import { type GraphBuilder, value } from '../../core/graph-builder.ts';
import { float32Tensor, int32Tensor } from '../../core/tensor.ts';
import { branch, castTo } from '../body.ts';
import type { OutputName } from '../contract.ts';
import { onesForSaturation, saturation } from './saturation.ts';

/** What a block gives for the tokens that it is run for. */
export interface BlockValues {
  /** [b, s, h] */
  readonly y: string;
  /** int32 [b, s]: neurons chosen, where a selector chooses. */
  readonly kept: string | undefined;
}

/** Each output's type, and the input whose shape it has. */
const OUTPUTS = {
  y: { dtype: 'float32', like: 'x' },
  saturation: { dtype: 'float32', like: 'active' },
  kept: { dtype: 'int32', like: 'active' },
} as const;

type Output = OutputName<'GatedFFN'>;

/**
 * bool `active` [b, s] decides; `run` sees the n active tokens as [1, n, h], and the others get 0 in all `outputs`.
 * When there are none, nothing of `run` is computed and no weight is read.
 */
export function forActiveTokens(
  g: GraphBuilder,
  outputs: readonly Output[],
  run: (g: GraphBuilder, x: string) => BlockValues,
): void {
  const found = g.op('NonZero', ['active'], { outputs: ['found'] });
  const ones = onesForSaturation(g);
  const whenAny = branch('active', branchOutputs('active', outputs), (b) => {
    const tokens = b.op('Unsqueeze', [b.op('Transpose', [found]), b.int64(0)]); // [1, n, 2]
    const { y, kept } = run(b, b.op('GatherND', ['x', tokens]));
    const all = scatter(b, 'y', tokens, y);
    const cosine = saturation(b, 'residual', all, ones);
    b.op('Where', ['active', cosine, b.float(0)], { outputs: [nameIn('active', 'saturation')] });
    if (kept !== undefined) scatter(b, 'kept', tokens, kept);
  });
  const whenNone = branch('skipped', branchOutputs('skipped', outputs), (b) => {
    for (const output of outputs) zeros(b, output, nameIn('skipped', output));
  });
  g.ops('If', [castTo(g, g.op('Size', [found]), 'bool')], {
    attributes: { then_branch: attr.graph(whenAny), else_branch: attr.graph(whenNone) },
    outputs,
  });
}

function nameIn(scope: string, output: Output): string {
  return `${scope}.out.${output}`;
}

function branchOutputs(scope: string, outputs: readonly Output[]): ValueInfo[] {
  const tokens = ['batch_size', 'sequence_length'];
  return outputs.map((output) => {
    const { dtype, like } = OUTPUTS[output];
    return value(nameIn(scope, output), dtype, like === 'x' ? [...tokens, 'hidden_size'] : tokens);
  });
}

/** The active tokens' values [1, n, ...] at their places among zeros. */
function scatter(g: GraphBuilder, output: Output, tokens: string, values: string): string {
  return g.op('ScatterND', [zeros(g, output), tokens, values], { outputs: [nameIn('active', output)] });
}

function zeros(g: GraphBuilder, output: Output, name = g.fresh('zeros')): string {
  const { dtype, like } = OUTPUTS[output];
  const zero = dtype === 'float32' ? float32Tensor([0]) : int32Tensor([0]);
  return g.op('ConstantOfShape', [g.op('Shape', [like])], {
    attributes: { value: attr.tensor(zero) },
    outputs: [name],
  });
}
