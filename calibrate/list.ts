/** The statistics of calibration, in the order of reports. A new one is a file and a line here. */
import { activationHistogram } from './activation-histogram.ts';
import { ffnEffect } from './ffn-effect.ts';
import { ffnMoments } from './ffn-moments.ts';
import { gateMoments } from './gate-moments.ts';
import { inputGrams } from './input-grams.ts';
import { inputMoments } from './input-moments.ts';
import { keptEnergy } from './kept-energy.ts';
import { neuronMagnitudes } from './neuron-magnitudes.ts';
import { productScores } from './product-scores.ts';
import { saturation } from './saturation.ts';
import type { Statistic } from './statistic.ts';

export const STATISTICS: readonly Statistic[] = [
  saturation,
  gateMoments,
  neuronMagnitudes,
  activationHistogram,
  keptEnergy,
  productScores,
  inputMoments,
  inputGrams,
  ffnMoments,
  ffnEffect,
];

/** What is measured by default. */
export const USUAL_STATISTICS = STATISTICS.filter(({ onRequest = false }) => !onRequest);
