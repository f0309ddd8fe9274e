/** What transformers.js reads: settings in config.json, and onnx/model<suffix>.onnx, where the suffix marks a dtype. */
import type { Precision } from '../../core/precision.ts';

/** The file of the `index`-th precision. The first is model.onnx, which every host opens by default. */
export function modelFileOf({ fileSuffix }: Precision, index: number): string {
  return `onnx/model${index === 0 ? '' : fileSuffix}.onnx`;
}

/** `transformers.js_config` of a folder with these precisions. Its dtype is "fp32" whatever model.onnx holds. */
export function transformersJsConfig(precisions: readonly Precision[]): Record<string, unknown> {
  const files = precisions.map((precision, index) => modelFileOf(precision, index).replace('onnx/', ''));
  // Browsers cannot see which files lie beside a model, so this says how many data files to download.
  const external = Object.fromEntries(files.map((file) => [file, 1]));
  // Version 4 reads the type of the caches from the model.
  const halves = precisions.flatMap(({ floats, name }, index) =>
    floats === 'float16' ? [[index === 0 ? 'fp32' : name, floats] as const] : [],
  );
  const caches = halves.length === 0 ? {} : { kv_cache_dtype: Object.fromEntries(halves) };
  return { dtype: 'fp32', use_external_data_format: external, ...caches };
}
