/** What a page is made of: plain data of a model folder, or of what calibration measured. */
import type { Manifest } from '../core/manifest.ts';
import type { ModelIdentity } from '../core/model.ts';
import type { Region } from '../core/saturation.ts';
import type { TextIdentity } from '../core/statistics.ts';
import type { Bench, Evaluation, Sample, Search } from './figures.ts';

export type ReportData = FolderData | StatisticsData;

export interface FolderData {
  readonly kind: 'folder';
  /** What a reader knows the folder by. */
  readonly name: string;
  readonly manifest: Manifest;
  /** What was not measured is null. */
  readonly evaluation: Evaluation | null;
  readonly bench: Bench | null;
  readonly search: Search | null;
  readonly statistics: StatisticsFigures | null;
  readonly sample: Sample | null;
  /** Other models of the same checkpoint. */
  readonly beside: readonly BesideData[];
}

export interface BesideData extends Pick<FolderData, 'name' | 'manifest' | 'evaluation' | 'bench'> {}

export interface StatisticsData {
  readonly kind: 'statistics';
  readonly name: string;
  readonly statistics: StatisticsFigures;
}

/** What statistics say, in numbers that a page can draw. A part that was not measured is null. */
export interface StatisticsFigures {
  readonly model: ModelIdentity;
  readonly texts: readonly TextIdentity[];
  readonly tokens: number;
  readonly sequenceLength: number;
  readonly sequences: number;
  readonly plannedSequences: number;
  readonly definitions: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  readonly saturation: SaturationFigures | null;
  readonly keptEnergy: KeptEnergyFigures | null;
  readonly productLoss: ProductLossFigures | null;
  readonly activations: readonly ActivationFigures[] | null;
  /** How much the largest input of a kind of linear layer exceeds the mean one, by layer. */
  readonly inputPeaks: readonly Readonly<Record<InputName, number>>[] | null;
}

export interface SaturationFigures {
  /** Cosines by layer. */
  readonly layers: readonly { readonly mean: number; readonly p05: number; readonly p95: number }[];
  /** Mean cosine over positions `from` to `to` - 1, by layer. */
  readonly positions: readonly { readonly from: number; readonly to: number; readonly cosines: readonly number[] }[];
  /** The layers that stand out, and where the first tokens of a text are like the rest. */
  readonly region: Region;
  readonly warmUp: { readonly tokens: number; readonly isSettled: boolean };
  /** null if all cosines of the region are equal. */
  readonly spearman: number | null;
}

export interface KeptEnergyFigures {
  readonly densities: readonly number[];
  /** Share of the energy kept at each density, by layer: neurons ranked by what they add, and by their gate. */
  readonly oracle: readonly (readonly number[])[];
  readonly gate: readonly (readonly number[])[];
}

export interface ProductLossFigures {
  readonly densities: readonly number[];
  /** Share of the stream's squared length that is lost at each density, by layer; for cuts on the score, and over its mean. */
  readonly absolute: readonly (readonly number[])[];
  readonly mean: readonly (readonly number[])[];
}

/** Sizes of activated gates in a layer, all neurons together. */
export interface ActivationFigures {
  readonly p05: number;
  readonly median: number;
  readonly p95: number;
}

export const INPUT_NAMES = ['attnIn', 'attended', 'ffnIn', 'downIn'] as const;
export type InputName = (typeof INPUT_NAMES)[number];
