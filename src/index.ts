/** The public door of Lacuna: a function for each command, the error that they throw, types of options and results. */
export { ERROR_CODES, type ErrorCode, LacunaError } from './core/errors.ts';
export type { HubOptions } from './core/hub.ts';
export { LACUNA_VERSION, type Manifest } from './core/manifest.ts';
export type { ModelSpec } from './core/model.ts';
export type { BlockPlan, Choice, Plan } from './core/plan.ts';
export {
  BLOCK_SIZES,
  type BlockSize,
  PRECISION_NAMES,
  type PrecisionName,
  ROUNDINGS,
  type Rounding,
  VOCABULARY_NAMES,
  type VocabularyName,
} from './core/precision.ts';
export type { JobOptions, Progress, ProgressStage } from './core/progress.ts';
export type { Verification } from './core/verification.ts';
export {
  type AutoCandidate,
  type AutoDryRun,
  type AutoOptions,
  type AutoResult,
  buildAuto,
  dryRunAuto,
} from './pipeline/auto.ts';
export { type BenchOptions, type BenchReport, bench } from './pipeline/bench.ts';
export {
  type BuildComparison,
  type BuildDryRun,
  type BuildOptions,
  type BuildResult,
  type BuildTexts,
  build,
  type ComparedTarget,
  type CompareOptions,
  compareTargets,
  dryRunBuild,
} from './pipeline/build.ts';
export {
  type CalibrateOptions,
  type CalibrateResult,
  calibrate,
  FURTHER_STATISTICS,
  type MergeOptions,
  mergeCalibrations,
  type StatisticsSummary,
} from './pipeline/calibrate.ts';
export { type ConvertOptions, type ConvertResult, convert } from './pipeline/convert.ts';
export { type DoctorOptions, type DoctorResult, doctor } from './pipeline/doctor.ts';
export { type DryRunEstimate, type DryRunResult, dryRun, type Problem } from './pipeline/dry-run.ts';
export { ENGINES, type Engine } from './pipeline/engine/engine.ts';
export { type EvaluateOptions, type EvaluateResult, evaluate } from './pipeline/evaluate.ts';
export { type HostOptions, type HostResult, measureHost } from './pipeline/host.ts';
export {
  type AdapterSummary,
  type CheckpointSummary,
  type DecodeWork,
  type GraphSummary,
  type Inspection,
  type InspectOptions,
  inspect,
} from './pipeline/inspect.ts';
export {
  type ChatMessage,
  type GeneratedText,
  type Generation,
  type GenerationOptions,
  type Generations,
  type Model,
  type OpenOptions,
  open,
  type Prompt,
} from './pipeline/open.ts';
export {
  installOps,
  type OpsInstallOptions,
  type OpsInstallResult,
  type OpsPathOptions,
  opsPath,
} from './pipeline/ops.ts';
export type { FailedPeer, PeerResult, TimedPeer } from './pipeline/peers/peers.ts';
export {
  type PlanCommandOptions,
  type PlanOptions,
  type PlanResult,
  PRESET_WORDS,
  type PresetWords,
  plan,
} from './pipeline/plan.ts';
export { type RefitOptions, refit } from './pipeline/refit.ts';
export { type ReportOptions, type ReportResult, report } from './pipeline/report.ts';
export type {
  BoundedMean,
  BudgetCheck,
  Column,
  Comparison,
  ConvertedModel,
  Dim,
  ErrorDetails,
  FittedStep,
  HostCosts,
  LayerConfig,
  LayerSparsity,
  MadeFor,
  ModelLayout,
  NativeLibrary,
  Perplexity,
  PerplexityResult,
  PlannedFile,
  Ratio,
  RealisedSparsity,
  Region,
  RopeConfig,
  RuleReport,
  Shown,
  Speedup,
  Spread,
  StopReason,
  SubjectResult,
  TextDocument,
  TextFile,
  TextMeasured,
  ValueInfo,
  WeightKind,
  WrittenFile,
} from './pipeline/results.ts';
export {
  type RunOptions,
  type RunResult,
  type RunRowsOptions,
  type RunRowsResult,
  run,
  runRows,
} from './pipeline/run.ts';
export {
  SPARSE_PRECISIONS,
  type SparsePrecision,
  type SparsifyOptions,
  type SparsifyResult,
  sparsify,
} from './pipeline/sparsify.ts';
export {
  type ExpectOptions,
  type ExpectResult,
  type VerifyOptions,
  type VerifyResult,
  verify,
  writeExpectations,
} from './pipeline/verify.ts';
