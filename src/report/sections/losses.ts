/** What was lost, by rounding and by leaving out apart. */
import { percent } from '../../core/figures.ts';
import { leavesOut } from '../../core/plan.ts';
import { chartFigure, frame, labelled, roundSpan, STILL } from '../chart.ts';
import { EVALUATE } from '../commands.ts';
import type { Mode, Ratio } from '../figures.ts';
import { type Html, html } from '../html.ts';
import { aside, ofFolder, shown } from '../section.ts';
import { type Table, tableOf } from '../table.ts';
import { FIRST, SECOND } from '../theme.ts';
import { addedText, isAgainstFloats, isFloats, namesOf, ratioText } from '../words.ts';

export const losses = ofFolder('losses', 'What was lost', (data) => {
  const { evaluation, manifest } = data;
  if (isFloats(data))
    return aside('this model holds the checkpoint’s floats: nothing is rounded, and nothing is left out');
  if (evaluation === null) return aside('the model has not been compared with the checkpoint’s floats', EVALUATE);
  if (!isAgainstFloats(evaluation)) return aside('the comparison is not with the checkpoint’s floats', EVALUATE);
  const isSparse = leavesOut(manifest.plan);
  const { modes, precision, texts } = evaluation;
  const parts = modes.map((mode) => ({ mode, ...partsOf(mode, isSparse) }));
  const [{ rounding, leavingOut }] = parts;
  const sentence = [
    ...(rounding === null ? [] : [`rounding to ${precision} changes it by ${addedText(rounding)}`]),
    ...(leavingOut === null ? [] : [`leaving out by ${addedText(leavingOut)}`]),
  ].join(', and ');
  return shown(
    `The perplexity on ${namesOf(texts)} shows what was lost: ${sentence}. The ratio to the floats is the product of all losses.`,
    html`<div class="charts">${lossChart(parts)}<div class="aside">${tableOf(qualityTable(modes))}${modeNotes(modes, evaluation.definitions)}</div></div>`,
  );
});

/** Losses of a mode. An fp32 model is not rounded, and a dense one leaves nothing out. */
function partsOf({ rounded, perplexityRatio }: Mode, isSparse: boolean) {
  if (rounded !== null) return { rounding: rounded.rounding, leavingOut: rounded.leavingOut };
  return isSparse ? { rounding: null, leavingOut: perplexityRatio } : { rounding: perplexityRatio, leavingOut: null };
}

type Parts = { readonly mode: Mode } & ReturnType<typeof partsOf>;

const CAUSES = [
  { name: 'by rounding', colour: FIRST, of: (parts: Parts) => parts.rounding },
  { name: 'by leaving out', colour: SECOND, of: (parts: Parts) => parts.leavingOut },
] as const;

function lossChart(parts: readonly Parts[]): Html {
  const causes = CAUSES.filter(({ of }) => parts.some((one) => of(one) !== null));
  const row = (one: Parts) => causes.map(({ of }) => cell(of(one)));
  const values = parts.flatMap((one) => causes.map(({ of }) => 100 * ((of(one)?.value ?? 1) - 1)));
  const most = Math.max(0.1, ...values);
  const least = Math.min(0, ...values);
  return chartFigure({
    id: 'losses-chart',
    title: 'Added to the perplexity, %',
    description: parts
      .map(
        (one) =>
          `Mode ${one.mode.mode}: ${causes.map(({ name, of }) => `${name} ${addedText(of(one) ?? { value: 1 })}`).join(', ')}.`,
      )
      .join(' '),
    legend: causes.map(({ name, colour }) => ({ label: name, colour, shape: 'solid' })),
    option: {
      ...frame({
        x: { categories: parts.map(({ mode }) => `mode “${mode.mode}”`) },
        y: { ...roundSpan(least * 1.15, most * 1.15), format: (value) => `${Number(value.toPrecision(3))} %` },
      }),
      series: causes.map(({ colour, of }) => ({
        ...STILL,
        type: 'bar',
        barMaxWidth: 46,
        barGap: '20%',
        itemStyle: { color: colour },
        data: parts.map((one) => {
          const ratio = of(one) ?? { value: 1 };
          return {
            value: 100 * (ratio.value - 1),
            label: labelled(addedText(ratio), ratio.value < 1 ? 'bottom' : 'top'),
          };
        }),
      })),
    },
    table: {
      header: ['Mode', ...causes.map(({ name }) => name)],
      rows: parts.map((one) => [one.mode.mode, ...row(one)]),
    },
  });
}

function cell(ratio: Ratio | null): string {
  return ratio === null ? '–' : ratioText(ratio);
}

function qualityTable(modes: readonly Mode[]): Table {
  const of = (text: (mode: Mode) => string) => modes.map(text);
  return {
    header: ['Figure', ...modes.map(({ mode }) => `mode “${mode}”`)],
    rows: [
      ['perplexity ratio', ...of(({ perplexityRatio }) => ratioText(perplexityRatio))],
      ['below, with 95 %', ...of(({ perplexityRatio }) => perplexityRatio.upperBound?.toFixed(4) ?? '–')],
      ['perplexity', ...of(({ model }) => model.perplexity.toFixed(4))],
      ['of the floats', ...of(({ baseline }) => baseline.perplexity.toFixed(4))],
      ['mean KL, nats', ...of(({ meanKl }) => meanKl.toFixed(4))],
      ['below, with 95 %', ...of(({ klUpperBound }) => klUpperBound?.toFixed(4) ?? '–')],
      ['same top-1', ...of(({ top1Agreement }) => percent(top1Agreement))],
      ['scored tokens', ...of(({ scoredTokens }) => String(scoredTokens))],
    ],
  };
}

function modeNotes(modes: readonly Mode[], definitions: Readonly<Record<string, string>>): Html {
  const known = modes.flatMap(({ mode }) => (Object.hasOwn(definitions, mode) ? [definitions[mode]] : []));
  return html`${known.map((text) => html`<p class="note">${text.charAt(0).toUpperCase()}${text.slice(1)}</p>`)}`;
}
