/**
 * What transformers.js is told of a folder, in config.json, and how files are named for it: it reads
 * `onnx/model<suffix>.onnx`, the suffix by the dtype asked for, and knows a dtype by no other mark.
 */
import type { Precision } from '../../core/precision.ts';

/**
 * The file in a folder of the precision that was named `index`-th. The first is model.onnx, which every host opens when
 * it is asked for nothing else; the others have the suffix of their dtype.
 */
export function modelFileOf({ fileSuffix }: Precision, index: number): string {
  return `onnx/model${index === 0 ? '' : fileSuffix}.onnx`;
}

/** `transformers.js_config` of a folder with these precisions, the first in model.onnx: its dtype is "fp32" whatever is in it. */
export function transformersJsConfig(precisions: readonly Precision[]): Record<string, unknown> {
  const files = precisions.map((precision, index) => modelFileOf(precision, index).replace('onnx/', ''));
  // Browsers cannot see what lies beside a file: they are told how many files of data to fetch.
  const external = Object.fromEntries(files.map((file) => [file, 1]));
  // Version 4 reads the caches' type from the model.
  const halves = precisions.flatMap(({ floats, name }, index) =>
    floats === 'float16' ? [[index === 0 ? 'fp32' : name, floats] as const] : [],
  );
  const caches = halves.length === 0 ? {} : { kv_cache_dtype: Object.fromEntries(halves) };
  return { dtype: 'fp32', use_external_data_format: external, ...caches };
}
