/**
 * The public door of Lacuna: one function for each command, the error that they throw, and the types of inputs and
 * results.
 */
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
export type { BenchOptions, BenchReport } from './pipeline/bench.ts';
export type { BuildDryRun, BuildOptions, BuildResult, BuildTexts } from './pipeline/build.ts';
export {
  type CalibrateOptions,
  type CalibrateResult,
  FURTHER_STATISTICS,
  type MergeOptions,
  type StatisticsSummary,
} from './pipeline/calibrate.ts';
export type { ConvertOptions, ConvertResult } from './pipeline/convert.ts';
export type { DoctorOptions, DoctorResult } from './pipeline/doctor.ts';
export {
  bench,
  build,
  calibrate,
  convert,
  doctor,
  dryRun,
  dryRunBuild,
  evaluate,
  inspect,
  installOps,
  mergeCalibrations,
  open,
  opsPath,
  plan,
  run,
  runRows,
  sparsify,
  verify,
  writeExpectations,
} from './pipeline/door.ts';
export type { DryRunEstimate, DryRunResult, Problem } from './pipeline/dry-run.ts';
export { ENGINES, type Engine } from './pipeline/engine/engine.ts';
export type { EvaluateOptions, EvaluateResult } from './pipeline/evaluate.ts';
export type {
  AdapterSummary,
  CheckpointSummary,
  GraphSummary,
  Inspection,
  InspectOptions,
} from './pipeline/inspect.ts';
export type {
  ChatMessage,
  GeneratedText,
  Generation,
  GenerationOptions,
  Generations,
  Model,
  OpenOptions,
  Prompt,
} from './pipeline/open.ts';
export type { OpsInstallOptions, OpsInstallResult, OpsPathOptions } from './pipeline/ops.ts';
export type { FailedPeer, PeerResult, TimedPeer } from './pipeline/peers/peers.ts';
export {
  type PlanCommandOptions,
  type PlanOptions,
  type PlanResult,
  PRESET_WORDS,
  type PresetWords,
} from './pipeline/plan.ts';
export type { RunOptions, RunResult, RunRowsOptions, RunRowsResult } from './pipeline/run.ts';
export {
  SPARSE_PRECISIONS,
  type SparsePrecision,
  type SparsifyOptions,
  type SparsifyResult,
} from './pipeline/sparsify.ts';
export type { ExpectOptions, ExpectResult, VerifyOptions, VerifyResult } from './pipeline/verify.ts';
