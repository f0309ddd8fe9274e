/** Figures in the words that sections share. */
import { percent, signedPercent, sumBy } from '../core/figures.ts';
import type { ManifestModel } from '../core/manifest.ts';
import { leavesOut, mixOf, type Plan } from '../core/plan.ts';
import { FLOATS, listed } from '../core/precision.ts';
import { TARGETS } from '../core/target.ts';
import type { FolderData } from './data.ts';
import type { Evaluation, Ratio, Speedup } from './figures.ts';

/** "1.0324 ± 0.0041". */
export function ratioText({ value, standardError }: Ratio): string {
  return standardError === null ? value.toFixed(4) : `${value.toFixed(4)} ± ${standardError.toFixed(4)}`;
}

/** "below 1.0410 with a confidence of 95 %". */
export function boundText({ upperBound }: Ratio): string {
  return upperBound === null
    ? 'with no bound, as one window was scored'
    : `below ${upperBound.toFixed(4)} with a confidence of 95 %`;
}

/** What a loss adds to the perplexity: "+3.24 %". */
export function addedText({ value }: Pick<Ratio, 'value'>): string {
  return signedPercent(value - 1, 2);
}

/** "test.txt and more.txt". */
export function namesOf(texts: readonly { readonly name: string }[]): string {
  return listed(
    texts.map(({ name }) => name),
    'and',
  );
}

/** "1.12 times as fast as dense int8 (1.05 to 1.18)". */
export function speedupText({ median, p10, p90 }: Speedup, baseline: string): string {
  return `${median.toFixed(2)} times as fast as ${baseline} (${p10.toFixed(2)} to ${p90.toFixed(2)})`;
}

/** What stores the blocks, counted: "24 int5, 36 int4". */
export function countsText(blocks: Readonly<Record<string, number>>): string {
  return Object.entries(blocks)
    .map(([dtype, count]) => `${count} ${dtype}`)
    .join(', ');
}

/** The model that was measured, or the folder's first. */
export function modelOf({ manifest, evaluation }: Pick<FolderData, 'manifest' | 'evaluation'>): ManifestModel {
  return manifest.models.find(({ precision }) => precision === evaluation?.precision) ?? manifest.models[0];
}

/** "int8", or what blocks of a mix are stored in. */
export function storedText({ precision }: Pick<ManifestModel, 'precision'>, plan: Plan | null): string {
  const mix = plan === null ? [] : [...mixOf(plan).values()];
  return mix.length === 0 ? precision : `mixed (${countsText(sumBy(mix.map(({ name }) => [name, 1])))})`;
}

/** "50.0 % of neurons kept"; undefined where nothing is left out. */
export function targetText(plan: Plan | null): string | undefined {
  return leavesOut(plan) ? `${percent(plan.target.value)} of ${TARGETS[plan.target.kind].outcome}` : undefined;
}

/** Whether an evaluation is against the checkpoint's floats, which quality is measured from. */
export function isAgainstFloats({ againstPrecision, modes }: Evaluation): boolean {
  return againstPrecision === 'fp32' && modes.length > 0;
}

/** Whether a folder's model is the checkpoint as it is, which nothing has to be compared with. */
export function isFloats(data: Pick<FolderData, 'manifest' | 'evaluation'>): boolean {
  return !leavesOut(data.manifest.plan) && modelOf(data).precision === FLOATS;
}
