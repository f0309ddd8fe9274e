/** Cuts texts into the sequences that are measured, so that all shards of a run agree on who measures which. */
import { invalidArgument, LacunaError } from '../src/core/errors.ts';
import type { ModelSpec } from '../src/core/model.ts';
import { spreadEvenly } from '../src/core/spread-evenly.ts';
import type { TextIdentity } from '../src/core/statistics.ts';

export interface CalibrationText {
  readonly name: string;
  readonly sha256: string;
  readonly tokens: ArrayLike<number>;
}

export interface CalibrationInput {
  readonly texts: readonly CalibrationText[];
  /** Tokens in a sequence. Default: 512. */
  readonly sequenceLength?: number;
  /** The most tokens over all shards. The sequences are taken evenly from all texts. */
  readonly maxTokens?: number;
  /** Measures every `count`-th sequence, from the `index`-th (counted from 0) on. */
  readonly shard?: { readonly index: number; readonly count: number };
  /** Put before every sequence, for models whose tokenizer puts it before every text. */
  readonly bosTokenId?: number;
}

export interface Sequence {
  /** Its number among all sequences of all shards. */
  readonly index: number;
  readonly text: number;
  readonly tokens: Int32Array;
}

/** One that has no number yet. */
type CutSequence = Omit<Sequence, 'index'>;

export const DEFAULT_SEQUENCE_LENGTH = 512;

/** A single token has no past to attend to, so it says nothing about the model at work. */
const SHORTEST_SEQUENCE = 2;

export interface Sequences {
  readonly sequenceLength: number;
  /** Sequences of all shards together. */
  readonly planned: number;
  readonly mine: readonly Sequence[];
  /** The texts, with the number of their tokens that this shard feeds. */
  readonly texts: readonly TextIdentity[];
}

/**
 * Cuts each text into sequences, takes `maxTokens` of all evenly and gives this shard its part. A text's last sequence
 * may be shorter; a single token left over is dropped.
 */
export function cutSequences(input: CalibrationInput, spec: ModelSpec): Sequences {
  const { maxTokens = Number.POSITIVE_INFINITY, shard = { index: 0, count: 1 } } = input;
  const wantedLength = input.sequenceLength ?? DEFAULT_SEQUENCE_LENGTH;
  if (wantedLength < SHORTEST_SEQUENCE || wantedLength > spec.contextLength)
    throw invalidArgument('sequenceLength', `2 to ${spec.contextLength} (the model's context)`, wantedLength);
  const sequenceLength = Math.min(wantedLength, Math.floor(maxTokens));
  const all = input.texts.flatMap((text, number) => cutText(text, number, sequenceLength, input.bosTokenId, spec));
  const planned = takeEvenly(all, sequenceLength, maxTokens).map((sequence, index) => ({ ...sequence, index }));
  const mine = planned.filter(({ index }) => index % shard.count === shard.index);
  if (mine.length === 0)
    throw new LacunaError('usage', `The texts give ${planned.length} sequences, none for shard ${shard.index}`, {
      hint: `Give more text, or at most ${planned.length} shards.`,
    });
  const texts = input.texts.map(({ name, sha256 }, number) => ({ name, sha256, tokens: fedOf(mine, number) }));
  return { sequenceLength, planned: planned.length, mine, texts };
}

function fedOf(sequences: readonly Sequence[], text: number): number {
  return sequences.reduce((sum, sequence) => sum + (sequence.text === text ? sequence.tokens.length : 0), 0);
}

function cutText(
  text: CalibrationText,
  number: number,
  sequenceLength: number,
  bosTokenId: number | undefined,
  spec: ModelSpec,
): CutSequence[] {
  const ids = Int32Array.from(text.tokens);
  const wrong = ids.find((id) => id < 0 || id >= spec.vocabSize);
  if (wrong !== undefined)
    throw new LacunaError(
      'mismatch',
      `Text "${text.name}" has token ${wrong}, the model knows 0 to ${spec.vocabSize - 1}`,
      { hint: "Encode the text with this checkpoint's tokenizer." },
    );
  const prefix = bosTokenId === undefined ? [] : [bosTokenId];
  const first = prefix.length > 0 && ids[0] === bosTokenId ? 1 : 0;
  const step = sequenceLength - prefix.length;
  const sequences: CutSequence[] = [];
  for (let start = first; start < ids.length; start += step) {
    const tokens = Int32Array.from([...prefix, ...ids.subarray(start, start + step)]);
    if (tokens.length >= SHORTEST_SEQUENCE) sequences.push({ text: number, tokens });
  }
  return sequences;
}

/** Evenly spaced sequences, as many as fit into `maxTokens`. */
function takeEvenly(sequences: readonly CutSequence[], length: number, maxTokens: number): readonly CutSequence[] {
  const total = sequences.reduce((sum, { tokens }) => sum + tokens.length, 0);
  if (total <= maxTokens) return sequences;
  return spreadEvenly(sequences, Math.floor(maxTokens / length));
}
