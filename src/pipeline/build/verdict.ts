/** Whether what was built is shipped: it has to keep to its budget, and to be faster than the dense model of its precision. */
import { LacunaError } from '../../core/errors.ts';
import type { PrecisionName } from '../../core/precision.ts';
import { type Ratio, ratioOf, type Spread, type TextScores } from '../../eval/index.ts';
import type { BenchReport } from '../bench.ts';
import { FLOATS, judgeBudget } from '../budget.ts';
import type { EvaluateResult } from '../evaluate.ts';
import type { Stage } from '../workspace.ts';
import { type Build, isRounded } from './options.ts';
import { buildAlternative, buildFloats, isRoundedByText, scoreFolder } from './stages.ts';

/** The measurement with the budget's verdict. Throws `check-failed` over the budget. */
export function withinBudget({ path, result }: Stage<EvaluateResult>, maxPplRatio: number | undefined): EvaluateResult {
  const check = judgeBudget(result.modes, maxPplRatio);
  if (check === undefined || check.passed) return { ...result, check };
  const ratios = result.modes.map(
    ({ mode, perplexityRatio: { value, upperBound } }) =>
      `${value.toFixed(4)}, at most ${(upperBound ?? value).toFixed(4)} (${mode})`,
  );
  throw new LacunaError(
    'check-failed',
    `Perplexity ratio to the checkpoint's floats ${ratios.join('; ')}: over the budget of ${check.maxPplRatio}, nothing was written`,
    {
      hint: `Leave out less (--target) or allow more (--max-ppl-ratio); finished stages are reused. All figures: ${path}`,
    },
  );
}

/** A dense model that is faster than the sparse one. */
interface Faster {
  readonly precision: PrecisionName | 'fp32';
  /** Against the build's dense model; null for that model itself. */
  readonly speedup: Spread | null;
  /** To the floats; null for the floats themselves. */
  readonly ratio: Ratio | null;
  /** Whether its weights were rounded by the fitting text. */
  readonly byText: boolean;
}

/**
 * Throws `check-failed` where the sparse model does not decode faster than the dense one beside it, with dense models that do and
 * keep to the budget. A model is slower when nine rounds in ten say so: the upper bound of the ratio is its 90th percentile.
 */
export async function refuseSlower(build: Build, dense: Stage<null>, timing: BenchReport): Promise<void> {
  const { options, precision } = build;
  const { speedup } = timing;
  if (options.allowSlower || speedup === null || speedup.p90 >= 1) return;
  const slower =
    `The sparse ${precision.name} model decodes ${times(speedup)} as fast as the dense ${precision.name} model ` +
    `in ${hostName(build)}: nothing was written`;
  const faster = await fasterModels(build, dense);
  const named = faster
    .filter(({ ratio }) => keepsTo(ratio, options.maxPplRatio))
    .map((model) => sentence(model, build));
  const others = 'Or leave out more (--target), try another preset, or ship it all the same with --allow-slower.';
  throw new LacunaError('check-failed', slower, { hint: [...named, others].join('\n  ') });
}

/** The dense models to ship in its place: of the same precision, and of the next smaller one. */
async function fasterModels(build: Build, dense: Stage<null>): Promise<Faster[]> {
  const { precision, options } = build;
  const floats = (await buildFloats(build, dense.path)).result;
  const name = precision.name as PrecisionName;
  const same: Faster = {
    precision: name,
    speedup: null,
    ratio: name === FLOATS ? null : ratioTo(floats, await scoreFolder(dense.path, options)),
    byText: isRounded(build),
  };
  const smaller = SMALLER[name];
  if (smaller === undefined) return [same];
  const { result } = await buildAlternative(build, dense, smaller);
  const isFaster = result.speedup !== null && result.speedup.p10 > 1;
  const ratio = ratioTo(floats, result.scores);
  const other = { precision: smaller, speedup: result.speedup, ratio, byText: isRoundedByText(smaller) };
  return isFaster ? [other, same] : [same];
}

/** The next precision in blocks. */
const SMALLER: Readonly<Partial<Record<PrecisionName, 'int8' | 'int4'>>> = {
  fp32: 'int8',
  fp16: 'int8',
  bf16: 'int8',
  int8: 'int4',
};

function ratioTo(floats: TextScores, scores: TextScores): Ratio {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return ratioOf(scores.windows.map((window, index) => mean(window) - mean(floats.windows[index])));
}

function keepsTo(ratio: Ratio | null, maxPplRatio: number | undefined): boolean {
  return ratio === null || maxPplRatio === undefined || (ratio.upperBound ?? ratio.value) <= maxPplRatio;
}

function sentence({ precision, speedup, ratio, byText }: Faster, { options }: Build): string {
  const speed = speedup === null ? 'faster' : `${times(speedup)} as fast as dense ${options.dtype ?? FLOATS}`;
  const loss = ratio === null ? 'loses nothing' : `has a perplexity ratio of ${ratio.value.toFixed(4)}`;
  const rounded = byText ? ` --data ${options.texts.fit.join(' ')}` : '';
  return `Dense ${precision} is ${speed} and ${loss}: lacuna convert ${options.checkpoint} -o DIR --dtype ${precision}${rounded}`;
}

function times({ median, p10, p90 }: Spread): string {
  return `${median.toFixed(2)} times (${p10.toFixed(2)} to ${p90.toFixed(2)})`;
}

export function hostName({ host }: Pick<Build, 'host'>): string {
  return host.kind === 'stock' ? 'stock ONNX Runtime' : 'the native core';
}
