/** Gives inactive tokens zeros, and runs a block only when a token is active where a branch may decide that. */
import { attr, type ValueInfo } from '../../core/graph.ts';
import { type GraphBuilder, value } from '../../core/graph-builder.ts';
import { float32Tensor, int32Tensor } from '../../core/tensor.ts';
import { branch, reduceLast } from '../body.ts';

/** What a block gives for the tokens that it is run for. */
export interface BlockValues {
  /** [b, s, h] */
  readonly y: string;
  /** int32 [b, s]: neurons chosen, where there is a choice. */
  readonly kept: string | undefined;
}

/** Each output's type, and the input whose shape it has. */
const OUTPUTS = {
  y: { dtype: 'float32', like: 'x' },
  saturation: { dtype: 'float32', like: 'active' },
  kept: { dtype: 'int32', like: 'active' },
} as const;

type Output = keyof typeof OUTPUTS;

type NameOf = (output: Output) => string;

/** What decides how inactive tokens are left out. */
export interface Masking {
  /** [b, s, h]: what y will be added to. */
  readonly residual: string;
  /** int64 [1], known on loading: h. */
  readonly hidden: string;
  readonly counted: boolean;
  /** Whether nothing of the block is computed, and no weight read, when no token is active. */
  readonly branches: boolean;
}

/**
 * bool `active` [b, s] decides: inactive tokens get 0 in all outputs. Active ones are not gathered first: at decode,
 * which skipping is for, that took ten operators a block where this takes three, a tenth of a small block's time.
 */
export function forActiveTokens(g: GraphBuilder, masking: Masking, run: (g: GraphBuilder) => BlockValues): void {
  const ones = g.op('ConstantOfShape', [masking.hidden], { attributes: { value: attr.tensor(float32Tensor([1])) } });
  const mask = (b: GraphBuilder, name: NameOf) => writeMasked(b, run(b), masking.residual, ones, name);
  if (masking.branches) branchOnAny(g, masking.counted ? ['y', 'saturation', 'kept'] : ['y', 'saturation'], mask);
  else mask(g, (output) => output);
}

function branchOnAny(g: GraphBuilder, outputs: readonly Output[], mask: (g: GraphBuilder, name: NameOf) => void): void {
  const any = g.op('ReduceMax', ['active'], { attributes: { keepdims: attr.int(0) } });
  const whenAny = branch('active', branchOutputs('active', outputs), (b) =>
    mask(b, (output) => nameIn('active', output)),
  );
  const whenNone = branch('skipped', branchOutputs('skipped', outputs), (b) => {
    for (const output of outputs) zeros(b, output, nameIn('skipped', output));
  });
  g.ops('If', [any], {
    attributes: { then_branch: attr.graph(whenAny), else_branch: attr.graph(whenNone) },
    outputs,
  });
}

function writeMasked(g: GraphBuilder, { y, kept }: BlockValues, residual: string, ones: string, name: NameOf): void {
  const whole = g.op('Unsqueeze', ['active', g.int64(-1)]);
  const masked = g.op('Where', [whole, y, g.float(0)], { outputs: [name('y')] });
  const cosine = saturation(g, residual, masked, ones);
  g.op('Where', ['active', cosine, g.float(0)], { outputs: [name('saturation')] });
  if (kept !== undefined) g.op('Where', ['active', kept, g.int32Scalar(0)], { outputs: [name('kept')] });
}

/** Far below the mean square of any residual stream; gives a zero vector saturation 0 and not NaN. */
const EPSILON = 1e-30;

/**
 * cos(residual, residual + y) of each token: how little the block turned the stream (FFN-SkipLLM, section 3). residual, y
 * [b, s, h] -> float [b, s]; `ones` is the norms' weight, [h]. The cosine is the mean product of both vectors divided by their
 * root mean squares: two norms instead of the nine operators of the textbook's formula, which show at the sizes of one token.
 */
function saturation(g: GraphBuilder, residual: string, y: string, ones: string): string {
  const attributes = { epsilon: attr.float(EPSILON) };
  const before = g.op('SimplifiedLayerNormalization', [residual, ones], {
    attributes: { ...attributes, axis: attr.int(-1), stash_type: attr.int(1) },
  });
  const after = g.contrib('SkipSimplifiedLayerNormalization', [residual, y, ones], { attributes });
  return reduceLast(g, 'ReduceMean', g.op('Mul', [before, after]), false);
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

function zeros(g: GraphBuilder, output: Output, name: string): void {
  const { dtype, like } = OUTPUTS[output];
  const zero = dtype === 'float32' ? float32Tensor([0]) : int32Tensor([0]);
  g.op('ConstantOfShape', [g.op('Shape', [like])], { attributes: { value: attr.tensor(zero) }, outputs: [name] });
}
