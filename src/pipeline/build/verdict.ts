/** Whether a built model is shipped: within its budget, and not slower than the dense model of its precision. */
import { LacunaError } from '../../core/errors.ts';
import { engineText } from '../../core/host-kind.ts';
import {
  FLOATS,
  gainsByTexts,
  hasBlocks,
  type PrecisionName,
  precisionNamed,
  smallerThan,
} from '../../core/precision.ts';
import { TARGETS } from '../../core/target.ts';
import { type Ratio, ratioOfScores, type Speedup, type Spread } from '../../eval/index.ts';
import { targetOf } from '../../plan/index.ts';
import type { BenchReport } from '../bench.ts';
import { type EvaluateResult, judgeBudget } from '../evaluate.ts';
import { outputsOf } from './keys.ts';
import type { Build } from './options.ts';
import { buildAlternative, buildDenseScores, buildFloats } from './stages.ts';

/** The measurement with the budget's verdict. Throws `check-failed` if it is over the budget. */
export function withinBudget(build: Build, result: EvaluateResult): EvaluateResult {
  const check = judgeBudget(result.modes, build.options.maxPplRatio);
  if (check === undefined || check.passed) return { ...result, check };
  const ratios = result.modes.map(
    ({ mode, perplexityRatio: { value, upperBound } }) =>
      `${value.toFixed(4)}, at most ${(upperBound ?? value).toFixed(4)} (${mode})`,
  );
  const over = `Perplexity ratio to the checkpoint's floats ${ratios.join('; ')}: over the budget of ${check.maxPplRatio}`;
  const figures = outputsOf(build).evaluation;
  throw new LacunaError('check-failed', `${over}, nothing was written`, {
    hint: `Leave out less (${flagOf(build)}) or allow more (--budget); finished stages are reused. All figures: ${figures}`,
  });
}

/** The flag that says how much is left out. */
function flagOf({ options }: Build): string {
  return `--${TARGETS[targetOf(options.preset).kind].option}`;
}

/** A dense model that is faster than the sparse one. */
interface Faster {
  readonly precision: PrecisionName;
  /** Speed against the build's dense model; null for that model itself. */
  readonly speedup: Speedup | null;
  /** Perplexity ratio to the floats; null for the floats themselves. */
  readonly ratio: Ratio | null;
  /** Whether the fitting text rounded its weights. */
  readonly byText: boolean;
}

/**
 * Throws `check-failed` if the sparse model decodes slower than the dense one, and names dense models that are faster
 * and within the budget. A model counts as slower when it is so with a confidence of 95 %.
 */
export async function refuseSlower(build: Build, { speedup }: BenchReport): Promise<void> {
  const { options, precision } = build;
  if (options.allowSlower || speedup === null || speedup.upperBound === null || speedup.upperBound >= 1) return;
  const slower =
    `The sparse ${precision.name} model decodes ${times(speedup)} as fast as the dense ${precision.name} model ` +
    `in ${engineText(build.engine)}, on average at most ${speedup.upperBound.toFixed(2)} times: nothing was written`;
  const faster = await fasterModels(build);
  const named = faster
    .filter(({ ratio }) => keepsTo(ratio, options.maxPplRatio))
    .map((model) => sentence(model, build));
  const others = `eave out more (${flagOf(build)}), try another preset, or ship it all the same with --allow-slower.`;
  throw new LacunaError('check-failed', slower, {
    hint: [...named, named.length > 0 ? `Or l${others}` : `L${others}`].join('\n  '),
  });
}

/** The dense models to ship instead: one of the same precision, one of the next smaller. */
async function fasterModels(build: Build): Promise<Faster[]> {
  const { precision } = build;
  const floats = await buildFloats(build);
  const name = precision.name as PrecisionName;
  const same: Faster = {
    precision: name,
    speedup: null,
    ratio: name === FLOATS ? null : ratioOfScores(await buildDenseScores(build), floats),
    byText: hasBlocks(precision),
  };
  const smaller = smallerThan(name, build.host.kind);
  if (smaller === undefined) return [same];
  const { speedup, scores } = await buildAlternative(build, smaller);
  const ratio = ratioOfScores(scores, floats);
  const byText = gainsByTexts(precisionNamed(smaller));
  const other = { precision: smaller, speedup, ratio, byText };
  return (speedup?.lowerBound ?? 0) > 1 ? [other, same] : [same];
}

function keepsTo(ratio: Ratio | null, maxPplRatio: number | undefined): boolean {
  return ratio === null || maxPplRatio === undefined || (ratio.upperBound ?? ratio.value) <= maxPplRatio;
}

function sentence({ precision, speedup, ratio, byText }: Faster, { options }: Build): string {
  const speed = speedup === null ? 'faster' : `${times(speedup)} as fast as dense ${options.dtype ?? FLOATS}`;
  const loss = ratio === null ? 'loses nothing' : `has a perplexity ratio of ${ratio.value.toFixed(4)}`;
  const { checkpoint, adapter, texts } = options;
  const command = [
    `lacuna convert ${quoted(checkpoint)} -o DIR --dtype ${precision}`,
    ...(byText ? [`--data ${texts.fit.map(quoted).join(' ')}`] : []),
    ...(adapter === undefined ? [] : [`--adapter ${quoted(adapter)}`]),
  ];
  return `Dense ${precision} is ${speed} and ${loss}: ${command.join(' ')}`;
}

/** Quotes an argument for a shell, if needed. */
function quoted(path: string): string {
  return /^[\w./@:+-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** "0.94 times (0.91 to 0.97)". */
export function times({ median, p10, p90 }: Spread): string {
  return `${median.toFixed(2)} times (${p10.toFixed(2)} to ${p90.toFixed(2)})`;
}
