/** Which layers of a decoder attend to all tokens and which to a window of them. */
import { contradiction, shown } from './issues.ts';

export const LAYER_KINDS = ['full_attention', 'sliding_attention'] as const;

export type LayerKind = (typeof LAYER_KINDS)[number];

/** The fields of config.json for it. */
export interface LayerKindFields {
  readonly num_hidden_layers: number;
  readonly sliding_window?: number | null | undefined;
  readonly sliding_window_pattern?: number | null | undefined;
  readonly layer_types?: readonly string[] | null | undefined;
}

/** The fields as an architecture with layers of two kinds means them. `config` is config.json with its defaults. */
export type ReadLayers = (
  fields: LayerKindFields,
  config: Readonly<Record<string, unknown>>,
  path: string,
) => LayerKindFields;

/** Layers n - 1, 2n - 1, ... attend to all tokens; a `sliding_window_pattern` goes before n. */
export function fullEvery(n: number): ReadLayers {
  return (fields) => {
    const every = fields.sliding_window_pattern ?? n;
    return withTypes(fields, (index) => ((index + 1) % every === 0 ? 'full_attention' : 'sliding_attention'));
  };
}

/** The fields with the kind that a rule gives each layer, where `layer_types` does not say. */
export function withTypes(fields: LayerKindFields, kindOf: (index: number) => LayerKind): LayerKindFields {
  const { num_hidden_layers: count, layer_types: types } = fields;
  return { ...fields, layer_types: types ?? Array.from({ length: count }, (_, index) => kindOf(index)) };
}

/** What of it is not built, by name: kinds of layers that are none of ours, or others than the one kind where `areAlike`. */
export function layerKindProblems(fields: LayerKindFields, areAlike: boolean): string[] {
  const kinds: readonly string[] = areAlike ? [commonKind(fields)] : LAYER_KINDS;
  return (fields.layer_types ?? []).every((type) => kinds.includes(type))
    ? []
    : [`layer_types = ${shown(fields.layer_types)}: layers of other kinds than ${kinds.join(' and ')}`];
}

/** The kind of each layer; all are alike where no types are given. Throws `bad-file` where the fields contradict each other; call `layerKindProblems` before. */
export function layerKinds(fields: LayerKindFields, path: string): LayerKind[] {
  const { num_hidden_layers: count, sliding_window: window } = fields;
  const types = withTypes(fields, () => commonKind(fields)).layer_types ?? [];
  const kinds = types.map((type) => type as LayerKind);
  const problem =
    kinds.length !== count
      ? `layer_types names ${kinds.length} layers, num_hidden_layers is ${count}`
      : kinds.includes('sliding_attention') && !window
        ? `layers attend to a window, and sliding_window is ${shown(window)}`
        : undefined;
  if (problem !== undefined) throw contradiction(path, problem);
  return kinds;
}

function commonKind({ sliding_window: window }: LayerKindFields): LayerKind {
  return window === undefined || window === null ? 'full_attention' : 'sliding_attention';
}
