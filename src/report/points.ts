/** Models as points: what they lose, how fast they decode and what they read, each only where it was measured or is known. */
import { leavesOut } from '../core/plan.ts';
import { FLOATS } from '../core/precision.ts';
import type { BesideData, FolderData } from './data.ts';
import type { Bench, Candidate, Ratio } from './figures.ts';
import { countsText, isAgainstFloats, isFloats, modelOf, storedText } from './words.ts';

/** `this`: the page's model. `dense`: one that it was measured against. `beside`: one that was measured by itself. */
export type Role = 'this' | 'dense' | 'beside';

export interface Point {
  readonly name: string;
  readonly role: Role;
  /** Perplexity over that of the checkpoint's floats. */
  readonly ratio: Ratio | null;
  /** Decoded tokens a second. */
  readonly rate: Rate | null;
  /** Weights read for a decoded token. */
  readonly bytes: number | null;
}

export interface Rate {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** A point that has a place in a chart. */
export interface Placed extends Point {
  readonly x: number;
  readonly ratio: Ratio;
}

/** By definition: quality is measured from the floats. */
const NO_LOSS: Ratio = { value: 1, standardError: 0, upperBound: 1 };

/** The page's model, the dense one that it was timed against, and the models beside. */
export function measuredPoints(data: FolderData): readonly Point[] {
  return [pointOf(data, 'this'), ...densePoints(data), ...data.beside.map((one) => pointOf(one, 'beside'))];
}

function pointOf(data: BesideData, role: Role): Point {
  const { manifest, evaluation, bench } = data;
  const stored = storedText(modelOf(data), manifest.plan);
  const isDense = !leavesOut(manifest.plan);
  const subject = bench?.subjects.at(-1);
  const compared = evaluation !== null && isAgainstFloats(evaluation) ? evaluation.modes[0].perplexityRatio : null;
  return {
    name: isDense ? `dense ${stored}` : `sparse ${stored}`,
    role,
    ratio: compared ?? (isFloats(data) ? NO_LOSS : null),
    rate: subject?.decodeTokensPerSecond ?? null,
    bytes: subject?.weightBytesPerToken ?? null,
  };
}

/** `build` times the model against a dense one whose quality it knows too: that of its own precision, with nothing left out. */
function densePoints({ manifest, evaluation, bench }: FolderData): readonly Point[] {
  const [dense] = bench === null || bench.subjects.length < 2 ? [] : bench.subjects;
  if (dense === undefined) return [];
  const { precision } = manifest.models[0];
  const isTwin = dense.name === 'dense';
  const rounding = evaluation?.modes[0]?.rounded?.rounding ?? (precision === FLOATS ? NO_LOSS : null);
  return [
    {
      name: isTwin ? `dense ${precision}` : denseName(dense.name),
      role: 'dense',
      ratio: isTwin ? rounding : null,
      rate: dense.decodeTokensPerSecond,
      bytes: dense.weightBytesPerToken,
    },
  ];
}

/** A build names a dense model by its precision, and `bench` a folder by its path. */
export function denseName(name: string): string {
  return /^\w+$/.test(name) ? `dense ${name}` : name;
}

/** The models of a search, with the speed and the bytes that are expected of them. */
export function searchedPoints({ search, bench }: FolderData): readonly Point[] {
  if (search === null) return [];
  const unread = bytesUnread(search.candidates, bench);
  return search.candidates.map(({ name, blocks, shown, seconds, bytes, isChosen }) => {
    const rate = seconds === null ? null : 1 / seconds;
    return {
      name: Object.keys(blocks).length === 1 ? name : countsText(blocks),
      role: isChosen ? 'this' : 'beside',
      ratio: shown.ratio,
      rate: rate === null ? null : { median: rate, p10: rate, p90: rate },
      bytes: unread === null ? null : bytes - unread,
    };
  });
}

/** What no decoded token reads of the files is the same in all candidates: their blocks alone differ. */
function bytesUnread(candidates: readonly Candidate[], bench: Bench | null): number | null {
  const chosen = candidates.find(({ isChosen }) => isChosen);
  const read = bench?.subjects.at(-1)?.weightBytesPerToken ?? null;
  return chosen === undefined || read === null ? null : chosen.bytes - read;
}

/** Those that lose less than everything that is as good by `x`, where more is better, or less. */
export function paretoFront(points: readonly Placed[], better: 'more' | 'less'): readonly Placed[] {
  const sign = better === 'more' ? -1 : 1;
  const sorted = points.toSorted((one, other) => sign * (one.x - other.x) || one.ratio.value - other.ratio.value);
  return sorted.filter((point, at) => sorted.slice(0, at).every(({ ratio }) => ratio.value > point.ratio.value));
}
