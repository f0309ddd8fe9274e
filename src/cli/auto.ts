/** What `lacuna build` says of a model that it looked for within a budget. */
import { LacunaError } from '../core/errors.ts';
import { formatBytes, percent } from '../core/figures.ts';
import { engineText } from '../core/host-kind.ts';
import type { AutoCandidate, AutoDryRun, AutoResult, BenchReport, BuildOptions } from '../index.ts';
import { givenPresetFlags, type PresetOptions } from './presets.ts';
import { foldedTable, wrap } from './table.ts';

type Given = Partial<PresetOptions> &
  Pick<BuildOptions, 'allowSlower'> & { readonly budget?: string; readonly dryRun?: boolean };

/** Throws `usage` for options that only builds by a preset have, and where there is neither preset nor budget. */
export function checkAuto({ budget, host: _, preset: __, ...given }: Given): void {
  const common = PRESET_ONLY.filter(({ name }) => given[name] !== undefined).map(({ flag }) => flag);
  const foreign = [...common, ...givenPresetFlags({ ...given })];
  if (foreign.length > 0)
    throw new LacunaError('usage', `${foreign.join(', ')}: only a build by a preset takes this`, {
      hint: 'Leave it out, or name a preset: --preset NAME.',
    });
  if (budget === undefined)
    throw new LacunaError('usage', 'Neither a preset nor a budget is given, so there is nothing to build for', {
      hint: 'Give --budget "ppl<=1.02" for the fastest dense model within it, or --preset NAME for a sparse one.',
    });
}

const PRESET_ONLY = [
  { name: 'prefill', flag: '--prefill' },
  { name: 'dtype', flag: '--dtype' },
  { name: 'allowSlower', flag: '--allow-slower' },
] as const;

export function autoDryRunText(found: AutoDryRun, width: number): string {
  const { output, budget, host, precisions, blocks, scoredTokens, isKept, workBytes, freeBytes, problem } = found;
  const free = freeBytes === undefined ? '' : `, of ${formatBytes(freeBytes)} that are free`;
  const kept = isKept ? '; an earlier run has written them' : '';
  const lines = [
    `Would make: the fastest dense model within ${budget}, for ${host === 'stock' ? 'stock ONNX Runtime' : 'the native kernels'}`,
    `Chooses:    for each of ${blocks} blocks among ${precisions.join(', ')}${kept}`,
    `Figures:    from ${scoredTokens} tokens, against the checkpoint's floats`,
    `Disk:       up to about ${formatBytes(workBytes)} while it works${free}`,
    problem === undefined
      ? `Nothing stands in the way of ${output}; nothing was written`
      : `problem: ${problem.message}${problem.hint === undefined ? '' : `\n  ${problem.hint}`}`,
  ];
  return lines.map((line) => wrap(line, width, '            ')).join('\n');
}

/** Verdict, quality, speed, size and place, and the models that were measured. */
export function autoText(result: AutoResult, width: number): string {
  const { output, budget, precision, evaluation, engine, bench, benchUniform, bytes, candidates } = result;
  const [{ perplexityRatio: ratio, meanKl, klUpperBound, scoredTokens }] = evaluation.modes;
  const bound = ratio.upperBound === null ? '' : `, below ${ratio.upperBound.toFixed(4)} with a confidence of 95 %`;
  const klBound = klUpperBound === null ? '' : `, below ${klUpperBound.toFixed(4)}`;
  const texts = evaluation.texts.map(({ name }) => name).join(', ');
  const lines = [
    `Shipped: dense, ${blocksText(candidates.find(({ isChosen }) => isChosen)) ?? precision}`,
    `Budget:  ${budget}: held on ${texts}, ${scoredTokens} tokens`,
    `Quality: perplexity ratio to the checkpoint's floats ${ratio.value.toFixed(4)}${bound}; KL divergence ${meanKl.toFixed(4)}${klBound}`,
    ...[...new Set(speedLines([bench, benchUniform]))].map((line) => `Speed:   ${line} in ${engineText(engine)}`),
    `Size:    ${formatBytes(bytes)}`,
    `Where:   ${output}; all figures in ${output}/lacuna and README.md`,
  ];
  const measured = foldedTable(
    COLUMNS.map(([name]) => name),
    candidates.map((one) => COLUMNS.map(([, cell]) => cell(one))),
    width,
  );
  return [lines.map((line) => wrap(line, width, '         ')).join('\n'), measured].join('\n\n');
}

function speedLines(reports: readonly (BenchReport | null)[]): string[] {
  return reports.flatMap((report) => {
    if (report === null || report.speedup === null) return [];
    const [dense, chosen] = report.subjects;
    const { median, p10, p90 } = report.speedup;
    const spread = `(${p10.toFixed(2)} to ${p90.toFixed(2)})`;
    const rates = [chosen, dense].map((one) => one.decodeTokensPerSecond.median.toFixed(1)).join(' and ');
    return [`decodes ${median.toFixed(2)} times as fast as dense ${dense.name} ${spread}: ${rates} tokens/s`];
  });
}

function blocksText(one: AutoCandidate | undefined): string | undefined {
  return (
    one &&
    Object.entries(one.blocks)
      .map(([dtype, count]) => `${count} blocks in ${dtype}`)
      .join(', ')
  );
}

const COLUMNS: readonly (readonly [name: string, cell: (one: AutoCandidate) => string])[] = [
  [
    'blocks',
    ({ blocks, isChosen }) =>
      `${isChosen ? '* ' : ''}${Object.entries(blocks)
        .map(([dtype, count]) => `${count} ${dtype}`)
        .join(', ')}`,
  ],
  ['size', ({ bytes }) => formatBytes(bytes)],
  ['expected ms/token', ({ seconds }) => (1000 * seconds).toFixed(2)],
  ['expected KL', ({ kl }) => kl?.toFixed(4) ?? '-'],
  ['KL', ({ shown }) => shown.kl.value.toFixed(4)],
  ['ratio', ({ shown }) => shown.ratio.value.toFixed(4)],
  ['of budget', ({ used }) => percent(used, 0)],
];
