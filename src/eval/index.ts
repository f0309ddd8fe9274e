/** Quality, realised sparsity and speed, each with its definition. */
export {
  type BenchOptions,
  type BenchResult,
  type BenchSubject,
  bench,
  type OpenSubject,
  type Spread,
  type SubjectResult,
  spread,
} from './bench.ts';
export { COMPARE_MODES, type CompareMode, type CompareOptions, type Comparison, compare } from './compare.ts';
export { DEFINITIONS, type DefinedMetric } from './definitions.ts';
export {
  measurePerplexity,
  type Perplexity,
  type PerplexityResult,
  scoreWindows,
  summariseScores,
  type TextScores,
} from './perplexity.ts';
export { type Ratio, ratioOf, ratioOfScores } from './ratio.ts';
export {
  type FfnShape,
  type LayerSparsity,
  type MeasureOptions,
  measureRealised,
  type RealisedSparsity,
} from './realised-sparsity.ts';
export { addRows, NO_ROWS, type PromptLogits, type RowTally, type Tallies, tallyPrompt } from './verify.ts';
export { failed, type Judgement, judge, limitsOf } from './verify-limits.ts';
export { cutWindows, WINDOW_TOKENS, type WindowOptions } from './windows.ts';
