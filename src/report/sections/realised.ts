/** How much was really left out, layer by layer, beside what the plan expected of its own text. */
import { percent } from '../../core/figures.ts';
import { layerOfBlock, leavesOut, type Plan, partOfBlock } from '../../core/plan.ts';
import { TARGETS } from '../../core/target.ts';
import { chartFigure, frame, roundSpan, SHARES, STILL } from '../chart.ts';
import { EVALUATE } from '../commands.ts';
import type { Mode } from '../figures.ts';
import { html } from '../html.ts';
import { layerAxis } from '../layers.ts';
import { aside, ofFolder, shown } from '../section.ts';
import { type Table, tableOf } from '../table.ts';
import { INK, SECOND } from '../theme.ts';

type Realised = NonNullable<Mode['realised']>;

export const realised = ofFolder('realised', 'What was left out', ({ evaluation, manifest: { plan, spec } }) => {
  if (!leavesOut(plan)) return aside('nothing is left out of this model');
  const mode = evaluation?.modes.find((one) => one.realised !== null);
  if (mode?.realised == null) return aside('what is really left out has not been counted', EVALUATE);
  const { target } = plan;
  const isSkip = target.kind === 'skipped-blocks';
  const what = isSkip ? 'tokens that skip the block' : 'neurons computed';
  const got = layersOf(mode.realised, isSkip).slice(0, spec.numHiddenLayers);
  const expected = expectedOf(plan, got.length, isSkip);
  const share = isSkip ? mode.realised.skippedShare : mode.realised.density;
  return shown(
    `Asked for: ${percent(target.value)} of ${TARGETS[target.kind].outcome}. Counted on the test text, mode “${mode.mode}”: ${share === null ? 'none' : percent(share)}. In all, ${percent(mode.realised.computedShare)} of the FFNs was computed.`,
    html`<div class="charts">${chartFigure({
      id: 'realised-layers',
      title: `Share of ${what}, by layer`,
      description: `${what} in each of ${spec.numHiddenLayers} layers: from ${percent(Math.min(...got))} to ${percent(Math.max(...got))}; the plan expected ${percent(Math.min(...expected))} to ${percent(Math.max(...expected))}.`,
      legend: [
        { label: 'counted', colour: SECOND, shape: 'solid' },
        { label: 'expected by the plan', colour: INK, shape: 'line' },
      ],
      option: {
        ...frame({
          x: layerAxis(spec.numHiddenLayers),
          y: isSkip
            ? { ...roundSpan(0, Math.max(0.01, ...got, ...expected)), format: (value) => percent(value, 0) }
            : SHARES,
        }),
        series: [
          { ...STILL, type: 'bar', data: got, barCategoryGap: '25%', itemStyle: { color: SECOND, opacity: 0.75 } },
          {
            ...STILL,
            type: 'line',
            step: 'middle',
            data: expected,
            symbol: 'none',
            lineStyle: { color: INK, width: 1.4 },
          },
        ],
      },
      table: {
        header: ['Layer', 'counted', 'expected'],
        rows: got.map((value, layer) => [String(layer), percent(value), percent(expected[layer])]),
      },
    })}<div class="aside">${tableOf(shareTable(evaluation?.modes ?? []))}</div></div>`,
  );
});

function shareTable(modes: readonly Mode[]): Table {
  const of = (text: (found: Realised) => string) =>
    modes.map((mode) => (mode.realised === null ? '–' : text(mode.realised)));
  return {
    header: ['Share', ...modes.map(({ mode }) => `mode “${mode}”`)],
    rows: [
      ['neurons computed, where blocks ran', ...of(({ density }) => (density === null ? '–' : percent(density)))],
      ['blocks skipped', ...of(({ skippedShare }) => percent(skippedShare))],
      ['neurons computed, of all', ...of(({ computedShare }) => percent(computedShare))],
    ],
  };
}

function layersOf({ layers }: Realised, isSkip: boolean): readonly number[] {
  return layers.map(({ density, skippedShare }) => (isSkip ? skippedShare : (density ?? 0)));
}

/** A layer that no plan names is dense. */
function expectedOf({ blocks }: Plan, layers: number, isSkip: boolean): readonly number[] {
  const byLayer = new Map(
    blocks
      .filter(({ block }) => partOfBlock(block) === 'ffn')
      .map(({ block, expected }) => [layerOfBlock(block), expected]),
  );
  return Array.from({ length: layers }, (_, layer) => {
    const { skipped = 0, density = 1 } = byLayer.get(layer) ?? {};
    return isSkip ? skipped : density;
  });
}
