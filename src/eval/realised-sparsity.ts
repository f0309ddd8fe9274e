/**
 * What a sparse model really left out, from `layers.<i>.kept`, `layers.<i>.active` and `layers.<i>.attended_keys` of a
 * measured session.
 */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { ModelSpec } from '../core/model.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { Session, Step } from '../core/session.ts';
import type { Windows } from './windows.ts';

export type FfnShape = Pick<ModelSpec, 'numHiddenLayers' | 'intermediateSize'> &
  Partial<Pick<ModelSpec, 'numAttentionHeads'>>;

export interface LayerSparsity {
  readonly layer: number;
  /** Tokens for which the block ran, and for which it did not. */
  readonly activeTokens: number;
  readonly skippedTokens: number;
  readonly skippedShare: number;
  readonly keptNeurons: number;
  /** null if the block ran for no token. */
  readonly density: number | null;
  /** Keys that a head attends to for a token, on average; null where it attends to all. */
  readonly attendedKeys: number | null;
}

/** Shares as DEFINITIONS defines them. */
export interface RealisedSparsity {
  readonly tokens: number;
  readonly skippedBlocks: number;
  readonly skippedShare: number;
  readonly density: number | null;
  readonly computedShare: number;
  /** Over the layers that attend to some keys only; null where none does. */
  readonly attendedKeys: number | null;
  readonly layers: readonly LayerSparsity[];
}

interface LayerCount {
  readonly active: number;
  readonly kept: number;
  /** Keys of all heads and tokens; undefined where the layer attends to all. */
  readonly attended: number | undefined;
}

export interface Counts {
  readonly tokens: number;
  readonly layers: readonly LayerCount[];
}

/** What a model leaves out of `windows`, each from an empty cache, at the positions that mode "all" scores. */
export async function measureRealised(
  session: Session,
  windows: Windows,
  shape: FfnShape,
  { progress = SILENT, signal }: JobOptions = {},
): Promise<RealisedSparsity> {
  const stage = progress.stage('Measuring what is left out', windows.length * windows[0].length, 'tokens');
  const counts: Counts[] = [];
  for (const window of windows) {
    throwIfAborted(signal);
    const fed = window.slice(0, -1);
    const { extras } = await session.step(fed, session.emptyCache());
    counts.push(countStep(extras, fed.length, shape));
    stage.advance(window.length);
  }
  stage.done();
  return realisedSparsity(counts.reduce(mergeCounts), shape);
}

/** What the outputs of one step over `tokens` tokens say. A layer without outputs ran whole. */
export function countStep(extras: Step['extras'], tokens: number, shape: FfnShape): Counts {
  const layers = Array.from({ length: shape.numHiddenLayers }, (_, layer) => {
    const active = total(extras, `layers.${layer}.active`, tokens) ?? tokens;
    const kept = total(extras, `layers.${layer}.kept`, tokens) ?? active * shape.intermediateSize;
    return { active, kept, attended: total(extras, `layers.${layer}.attended_keys`, tokens) };
  });
  return { tokens, layers };
}

export function mergeCounts(a: Counts, b: Counts): Counts {
  const layers = a.layers.map(({ active, kept, attended }, layer) => ({
    active: active + b.layers[layer].active,
    kept: kept + b.layers[layer].kept,
    attended: attended === undefined ? undefined : attended + (b.layers[layer].attended ?? 0),
  }));
  return { tokens: a.tokens + b.tokens, layers };
}

export function realisedSparsity({ tokens, layers }: Counts, shape: FfnShape): RealisedSparsity {
  const { intermediateSize, numAttentionHeads: heads = 1 } = shape;
  const keys = layers.flatMap(({ attended }) => (attended === undefined ? [] : [attended / (tokens * heads)]));
  const active = layers.reduce((sum, layer) => sum + layer.active, 0);
  const kept = layers.reduce((sum, layer) => sum + layer.kept, 0);
  const blocks = tokens * layers.length;
  return {
    tokens,
    skippedBlocks: blocks - active,
    skippedShare: (blocks - active) / blocks,
    density: densityOf({ active, kept }, intermediateSize),
    computedShare: kept / (blocks * intermediateSize),
    attendedKeys: keys.length === 0 ? null : keys.reduce((sum, count) => sum + count, 0) / keys.length,
    layers: layers.map((count, layer) => ({
      layer,
      activeTokens: count.active,
      skippedTokens: tokens - count.active,
      skippedShare: (tokens - count.active) / tokens,
      keptNeurons: count.kept,
      density: densityOf(count, intermediateSize),
      attendedKeys: count.attended === undefined ? null : count.attended / (tokens * heads),
    })),
  };
}

function densityOf({ active, kept }: Pick<LayerCount, 'active' | 'kept'>, intermediateSize: number): number | null {
  return active === 0 ? null : kept / (active * intermediateSize);
}

/** What a token computed, of all neurons of all layers, and of all blocks. */
export interface TokenShares {
  readonly computed: number;
  readonly ran: number;
}

/** The same outputs, token by token. */
export function sharesByToken(extras: Step['extras'], tokens: number, shape: FfnShape): readonly TokenShares[] {
  const { numHiddenLayers: layers, intermediateSize } = shape;
  const [kept, ran] = [new Float64Array(tokens), new Float64Array(tokens)];
  for (let layer = 0; layer < layers; layer++) {
    const active = outputOf(extras, `layers.${layer}.active`, tokens);
    const neurons = outputOf(extras, `layers.${layer}.kept`, tokens);
    for (let token = 0; token < tokens; token++) {
      const runs = active?.[token] ?? 1;
      ran[token] += runs;
      kept[token] += neurons?.[token] ?? runs * intermediateSize;
    }
  }
  return Array.from(ran, (blocks, token) => {
    return { computed: kept[token] / (layers * intermediateSize), ran: blocks / layers };
  });
}

/** Sum of an output with one value for each token; undefined if the model has no such output. */
function total(extras: Step['extras'], name: string, tokens: number): number | undefined {
  const values = outputOf(extras, name, tokens);
  if (values === undefined) return undefined;
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** An output with one value for each token; undefined if the model has no such output. */
function outputOf(extras: Step['extras'], name: string, tokens: number): Int32Array | Uint8Array | undefined {
  const tensor = extras[name];
  if (tensor === undefined) return undefined;
  const { data, dtype, dims } = tensor;
  if ((data instanceof Int32Array || data instanceof Uint8Array) && data.length === tokens) return data;
  throw new LacunaError('mismatch', `Expected ${tokens} counts in ${name} but received ${dtype} [${dims}]`);
}
