/** What a build measured, as a section of its model card: each figure with its baseline, its text and its error. */
import { percent } from '../../core/figures.ts';
import { type Comparison, DEFINITIONS, type Ratio } from '../../eval/index.ts';
import type { BenchReport } from '../bench.ts';
import type { EvaluateResult } from '../evaluate.ts';
import { type Build, engineName } from './options.ts';
import { times } from './verdict.ts';

/** Markdown. */
export function measuredText(
  build: Build,
  { modes, texts }: EvaluateResult,
  { speedup, subjects }: BenchReport,
): string {
  const { precision } = build;
  const read = texts.map(({ name }) => name).join(', ');
  const rows = modes.map(
    (mode) =>
      `| ${[mode.mode, mode.scoredTokens, ...ratiosOf(mode), mode.meanKl.toFixed(4), percent(mode.top1Agreement)].join(' | ')} |`,
  );
  const speeds = subjects.map(({ name, decodeTokensPerSecond: { median } }) => `${name} ${median.toFixed(1)} tokens/s`);
  const gain = speedup === null ? '' : `${times(speedup)} the speed of the dense ${precision.name} model`;
  return `## Measured

Perplexity ratios are to the checkpoint's floats (fp32), on ${read}, measured in
${engineName(build)}; ± is the standard error, in parentheses what the ratio is
below with a confidence of 95 %.

| mode | tokens | ratio | of it by rounding to ${precision.name} | by leaving out | KL | same top-1 |
| ---- | -----: | ----- | ----- | ----- | -----: | -----: |
${rows.join('\n')}

- ${definition('all')}
- ${definition('decode')}
- KL and top-1: against the same weights with nothing left out.

Decoding, by ${engineName(build)}: ${gain} (${speeds.join(', ')}); median and 80 % of the rounds, on the machine that built it.
`;
}

function ratiosOf({ perplexityRatio, rounded }: Comparison): string[] {
  return [perplexityRatio, rounded?.rounding, rounded?.leavingOut ?? perplexityRatio].map((ratio) =>
    ratio === undefined ? '1' : ratioText(ratio),
  );
}

function ratioText({ value, standardError, upperBound }: Ratio): string {
  if (standardError === null || upperBound === null) return value.toFixed(4);
  return `${value.toFixed(4)} ± ${standardError.toFixed(4)} (${upperBound.toFixed(4)})`;
}

function definition(mode: 'all' | 'decode'): string {
  return DEFINITIONS[mode].replace(/^mode "(\w+)"/, '$1');
}
