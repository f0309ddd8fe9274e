/** Quality, realised sparsity and speed, each with its definition. */
export {
  type BenchResult,
  bench,
  countsOf,
  meanCachedTokens,
  type OpenSubject,
  type Speedup,
  type Spread,
  type SubjectResult,
  spread,
} from './bench.ts';
export { COMPARE_MODES, type Comparison, compare } from './compare.ts';
export { DEFINITIONS } from './definitions.ts';
export { type DrawnTokens, divergenceFrom, drawTokens } from './drawn-tokens.ts';
export {
  measurePerplexity,
  type Perplexity,
  type PerplexityResult,
  scoreWindows,
  type TextScores,
} from './perplexity.ts';
export { type BoundedMean, boundedMean, type Ratio, ratioOf, ratioOfScores } from './ratio.ts';
export {
  type LayerSparsity,
  measureRealised,
  type RealisedSparsity,
  sharesByToken,
} from './realised-sparsity.ts';
export { addRows, failed, type Judgement, judge, limitsOf, NO_ROWS, type Tallies, tallyPrompt } from './verify.ts';
export { cutWindows, WINDOW_TOKENS, type Windows } from './windows.ts';
