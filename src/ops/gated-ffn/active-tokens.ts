/** Runs a computation for active tokens only: gathered into one row, computed, scattered back among zeros. */
import { attr, type ValueInfo } from '../../core/graph.ts';
import { type GraphBuilder, value } from '../../core/graph-builder.ts';
import { float32Tensor, int32Tensor } from '../../core/tensor.ts';
import { branch, castTo } from '../body.ts';

export interface BlockInputs {
  /** [b, s, h] */
  readonly x: string;
  readonly residual: string;
}

/** What a block gives for each token: `y` [b, s, h], the others [b, s]. */
const RESULTS = {
  y: { dtype: 'float32', like: 'x' },
  saturation: { dtype: 'float32', like: 'active' },
  kept: { dtype: 'int32', like: 'active' },
} as const;

export type Result = keyof typeof RESULTS;
/** Where a block's results go, by name. */
export type ResultNames = Readonly<Partial<Record<Result, string>>> & { readonly y: string };

/**
 * bool `active` [b, s] decides; `run` sees the n active tokens as [1, n, h], and the others get 0. When there are none,
 * nothing of `run` is computed and no weight is read.
 */
export function forActiveTokens(
  g: GraphBuilder,
  results: ResultNames,
  run: (g: GraphBuilder, inputs: BlockInputs, results: ResultNames) => void,
): void {
  const names = Object.keys(RESULTS).filter((name): name is Result => results[name as Result] !== undefined);
  const outputs = (scope: string) => names.map((name) => branchOutput(scope, name));
  const found = g.op('NonZero', ['active'], { outputs: ['found'] });
  const whenAny = branch('active', outputs('active'), (b, to) => {
    const tokens = b.op('Unsqueeze', [b.op('Transpose', [found]), b.int64(0)]); // [1, n, 2]
    const packed = { y: 'packed.y', ...Object.fromEntries(names.map((name) => [name, `packed.${name}`])) };
    run(b, { x: b.op('GatherND', ['x', tokens]), residual: b.op('GatherND', ['residual', tokens]) }, packed);
    names.forEach((name, index) => {
      b.op('ScatterND', [zeros(b, name), tokens, `packed.${name}`], { outputs: [to[index]] });
    });
  });
  const whenNone = branch('skipped', outputs('skipped'), (b, to) => {
    for (const [index, name] of names.entries()) zeros(b, name, to[index]);
  });
  g.ops('If', [castTo(g, g.op('Size', [found]), 'bool')], {
    attributes: { then_branch: attr.graph(whenAny), else_branch: attr.graph(whenNone) },
    outputs: names.map((name) => results[name] ?? ''),
  });
}

function branchOutput(scope: string, name: Result): ValueInfo {
  const { dtype, like } = RESULTS[name];
  const tokens = ['batch_size', 'sequence_length'];
  return value(`${scope}.out.${name}`, dtype, like === 'x' ? [...tokens, 'hidden_size'] : tokens);
}

function zeros(g: GraphBuilder, name: Result, output = g.fresh('zeros')): string {
  const { dtype, like } = RESULTS[name];
  const zero = dtype === 'float32' ? float32Tensor([0]) : int32Tensor([0]);
  return g.op('ConstantOfShape', [g.op('Shape', [like])], {
    attributes: { value: attr.tensor(zero) },
    outputs: [output],
  });
}
