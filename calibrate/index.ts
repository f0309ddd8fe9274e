/** Graph pieces + texts -> Statistics. */
export { gramsOf, type InputGram, inputGrams } from './input-grams.ts';
export { importanceOf, inputMoments } from './input-moments.ts';
export { linearWeights } from './linear-inputs.ts';
export { STATISTICS, USUAL_STATISTICS } from './list.ts';
export { mergeStatistics } from './merge.ts';
export { type RefitOptions, type Refitted, refitWalk } from './refit.ts';
export { type CalibrationOptions, calibrate } from './run.ts';
export { type CalibrationInput, cutSequences, DEFAULT_SEQUENCE_LENGTH } from './sequences.ts';
export type { Column, LayerKeeper, Statistic } from './statistic.ts';
export { type StatisticsSummary, summarise } from './summarise.ts';
