/** Which layers of a decoder attend to all tokens and which to a window of them. */
import { LacunaError } from '../../src/core/errors.ts';
import { shown } from './issues.ts';

export const LAYER_KINDS = ['full_attention', 'sliding_attention'] as const;

export type LayerKind = (typeof LAYER_KINDS)[number];

/** The fields of config.json for it. */
export interface LayerKindFields {
  readonly num_hidden_layers: number;
  readonly sliding_window?: number | null | undefined;
  readonly sliding_window_pattern?: number | null | undefined;
  readonly layer_types?: readonly string[] | null | undefined;
}

/**
 * `fullEvery` n: unless config.json says otherwise, layers n - 1, 2n - 1, ... attend to all tokens. Without it, all
 * layers are alike.
 */
export interface LayerRule {
  readonly fullEvery?: number;
}

/**
 * What is not supported, by name: unknown kinds of layers, or layers of two kinds in an architecture whose layers are
 * all alike.
 */
export function layerKindProblems(fields: LayerKindFields, { fullEvery }: LayerRule): string[] {
  const kinds = fullEvery === undefined ? [commonKind(fields)] : LAYER_KINDS;
  return (fields.layer_types ?? []).every((type) => (kinds as readonly string[]).includes(type))
    ? []
    : [`layer_types = ${shown(fields.layer_types)}: layers of other kinds than ${kinds.join(' and ')}`];
}

/** The kind of each layer. Throws `bad-file` if the fields contradict each other. Call `layerKindProblems` before. */
export function layerKinds(fields: LayerKindFields, rule: LayerRule, path: string): LayerKind[] {
  const { num_hidden_layers: count, layer_types: types, sliding_window: window } = fields;
  const kinds = types ? types.map((type) => type as LayerKind) : kindsByRule(fields, rule);
  const problem =
    kinds.length !== count
      ? `layer_types names ${kinds.length} layers, num_hidden_layers is ${count}`
      : kinds.includes('sliding_attention') && !window
        ? `layers attend to a window, and sliding_window is ${shown(window)}`
        : undefined;
  if (problem !== undefined)
    throw new LacunaError('bad-file', `config.json of ${path} is not valid: ${problem}`, {
      hint: 'Take the config.json that was published with the weights.',
    });
  return kinds;
}

function kindsByRule(fields: LayerKindFields, { fullEvery }: LayerRule): LayerKind[] {
  const every = fields.sliding_window_pattern ?? fullEvery;
  return Array.from({ length: fields.num_hidden_layers }, (_, index) => {
    if (fullEvery === undefined || every === undefined) return commonKind(fields);
    return (index + 1) % every === 0 ? 'full_attention' : 'sliding_attention';
  });
}

function commonKind({ sliding_window: window }: LayerKindFields): LayerKind {
  return window === undefined || window === null ? 'full_attention' : 'sliding_attention';
}
