/** Shapes inside the results of commands, for whoever reads these from code. */
export type { Column } from '../../calibrate/index.ts';
export type { LayerConfig, ModelLayout, RopeConfig, WeightKind } from '../../converters/index.ts';
export type { WrittenFile } from '../../formats/onnx/index.ts';
export type { TextDocument, TextFile } from '../../formats/texts/index.ts';
export type { ErrorDetails } from '../core/errors.ts';
export type { Dim, ValueInfo } from '../core/graph.ts';
export type { HostCosts } from '../core/host-costs.ts';
export type { Region } from '../core/saturation.ts';
export type {
  BoundedMean,
  Comparison,
  LayerSparsity,
  Perplexity,
  PerplexityResult,
  Ratio,
  RealisedSparsity,
  Speedup,
  Spread,
  SubjectResult,
} from '../eval/index.ts';
export type { RuleReport } from '../rewrite/index.ts';
export type { StopReason } from '../runtime/index.ts';
export type { Shown } from './auto/choose.ts';
export type { ConvertedModel } from './convert.ts';
export type { MadeFor, NativeLibrary } from './engine/native-library.ts';
export type { BudgetCheck } from './evaluate.ts';
export type { PlannedFile } from './folder/model-folder.ts';
export type { FittedStep } from './host.ts';
export type { TextMeasured } from './texts/windows.ts';
