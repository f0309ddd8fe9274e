/** A decoder's cache, vocabulary and further outputs, derived from the names and shapes of its graph alone. */
import type { InferenceSession } from 'onnxruntime-node';
import { LacunaError } from '../core/errors.ts';
import { MOST_HEAD_ENTRIES, MOST_HEADS, MOST_WORDS } from '../core/limits.ts';
import type { OrtSession } from './ort-session.ts';

export interface CacheInput {
  readonly past: string;
  readonly present: string;
  readonly dtype: string;
  readonly kvHeads: number;
  readonly headDim: number;
}

export interface Signature {
  readonly cache: readonly CacheInput[];
  /** undefined if the graph leaves it open. */
  readonly vocab: number | undefined;
  readonly extraOutputs: readonly string[];
  /** Graphs from other tools ask for them. Ours derives positions from the mask. */
  readonly takesPositionIds: boolean;
}

const PAST = /^past_key_values\.(\d+)\.(key|value)$/;

/** Throws `unsupported` for a graph that is not a decoder with a cache. */
export function readSignature(metadata: OrtSession['metadata']): Signature {
  const { inputNames, outputNames, inputMetadata, outputMetadata } = metadata;
  const cache = inputMetadata.filter(({ name }) => PAST.test(name)).map(cacheInput);
  const presents = cache.map(({ present }) => present);
  const missing = [
    ...['input_ids', 'attention_mask'].filter((name) => !inputNames.includes(name)),
    ...['logits', ...presents].filter((name) => !outputNames.includes(name)),
    ...(cache.length === 0 ? ['past_key_values.0.key'] : []),
  ];
  if (missing.length > 0) throw notADecoder(`without ${missing.join(', ')}`);
  const takes = ['input_ids', 'attention_mask', 'position_ids'];
  const unknown = inputNames.filter((name) => !takes.includes(name) && !PAST.test(name));
  if (unknown.length > 0) throw notADecoder(`that also wants ${unknown.join(', ')}`);
  return {
    cache,
    vocab: vocabOf(outputMetadata),
    extraOutputs: outputNames.filter((name) => name !== 'logits' && !presents.includes(name)),
    takesPositionIds: inputNames.includes('position_ids'),
  };
}

function cacheInput(metadata: InferenceSession.ValueMetadata): CacheInput {
  const shape = metadata.isTensor ? metadata.shape : [];
  const [, kvHeads, , headDim] = shape;
  if (!metadata.isTensor || shape.length !== 4 || typeof kvHeads !== 'number' || typeof headDim !== 'number')
    throw notADecoder(`whose ${metadata.name} is [${shape}] instead of [batch, heads, past, head dimension]`);
  checkDeclared(`heads of ${metadata.name}`, kvHeads, MOST_HEADS);
  checkDeclared(`entries a head of ${metadata.name}`, headDim, MOST_HEAD_ENTRIES);
  const present = metadata.name.replace('past_key_values', 'present');
  return { past: metadata.name, present, dtype: metadata.type, kvHeads, headDim };
}

function vocabOf(outputs: readonly InferenceSession.ValueMetadata[]): number | undefined {
  const logits = outputs.find(({ name }) => name === 'logits');
  const last = logits?.isTensor ? logits.shape.at(-1) : undefined;
  if (typeof last !== 'number') return undefined;
  checkDeclared('words of the vocabulary', last, MOST_WORDS);
  return last;
}

/** Memory is reserved by what a graph declares, before any of it is computed. */
function checkDeclared(what: string, declared: number, most: number): void {
  if (declared < 1 || declared > most)
    throw new LacunaError('unsupported', `Expected 1 to ${most} ${what}, but the model declares ${declared}`);
}

function notADecoder(found: string): LacunaError {
  return new LacunaError(
    'unsupported',
    `Expected a decoder with input_ids, attention_mask, past_key_values.N.key|value, logits and present.N.key|value, ` +
      `but the model is one ${found}`,
    { hint: 'Convert the checkpoint with `lacuna convert`.' },
  );
}
