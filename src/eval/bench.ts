/** Decode speed of one model, or of two against each other in one process, so that both meet the same machine. */
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import type { HostKind } from '../core/host-kind.ts';
import { type JobOptions, type ProgressStage, SILENT } from '../core/progress.ts';
import type { KvCache, Session } from '../core/session.ts';
import { ratioOf } from './ratio.ts';

/** An open model. */
export interface BenchSubject {
  readonly name: string;
  readonly session: Session;
  /** What runs it. */
  readonly engine?: HostKind;
  readonly ffnBytesPerToken?: number;
  readonly weightBytesPerToken?: number;
  /** Seconds that a decode step was expected to take, with `meanCachedTokens` in the cache. */
  readonly expectedStep?: number | undefined;
}

/** Opens a model once more. The caller closes the session. */
export type OpenSubject = () => Promise<BenchSubject>;

export interface BenchOptions extends JobOptions {
  readonly promptTokens?: number;
  /** Tokens that every model can attend to; no limit if absent. */
  readonly contextLength?: number;
  /** How many times sessions are opened anew. */
  readonly repeats?: number;
  /** Timed rounds of each repeat. */
  readonly rounds?: number;
  /** Tokens decoded in each block. A round has two blocks of each model. */
  readonly stepsPerBlock?: number;
  /**
   * With two models, repeats go on until one of the models is surely faster, or this many seconds have passed. There are at most
   * `repeats` of them, or 50 where that is not given.
   */
  readonly untilSure?: number;
  /** The most bytes a second that the threads read from memory. */
  readonly memoryBandwidth?: number;
  /** Milliseconds from any fixed time. */
  readonly now?: () => number;
}

export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** One speed over another, over the rounds of all repeats. */
export interface Speedup extends Spread {
  /** With a confidence of 95 %, the mean ratio is above this: Student's bound, over repeats. null with one repeat. */
  readonly lowerBound: number | null;
  /** With a confidence of 95 %, the mean ratio is below this. */
  readonly upperBound: number | null;
}

export interface SubjectResult {
  readonly name: string;
  /** What ran it; null where it was not said. */
  readonly engine: HostKind | null;
  readonly decodeTokensPerSecond: Spread;
  readonly prefillTokensPerSecond: Spread;
  readonly ffnBytesPerToken: number | null;
  readonly weightBytesPerToken: number | null;
  /** The share of `memoryBandwidth` at which decoding reads weights. */
  readonly bandwidthShare: number | null;
  /** What was expected before it was measured, by the host's costs; null where they are not known. */
  readonly expectedTokensPerSecond: number | null;
  /** The expected time of a step over the measured one, less 1. */
  readonly expectedError: number | null;
}

export type Counts = Required<Pick<BenchOptions, 'promptTokens' | 'repeats' | 'rounds' | 'stepsPerBlock'>>;

export interface BenchResult extends Counts {
  readonly threads: number | null;
  readonly memoryBandwidth: number | null;
  readonly subjects: readonly SubjectResult[];
  /** Time of the first / time of the second, one value for each round of all repeats; null for one model. */
  readonly speedup: Speedup | null;
  readonly prefillSpeedup: Speedup | null;
  /** The same ratio as `speedup` of the expected times. */
  readonly expectedSpeedup: number | null;
}

/** Tokens in the cache of a timed step, in the mean: the first block after the prompt is not timed. */
export function meanCachedTokens({ promptTokens, rounds, stepsPerBlock }: Omit<Counts, 'repeats'>): number {
  return promptTokens + stepsPerBlock + (rounds * stepsPerBlock) / 2;
}

type OpenSubjects = readonly [OpenSubject] | readonly [OpenSubject, OpenSubject];

export function countsOf(given: Partial<Counts> & Pick<BenchOptions, 'untilSure'>): Counts {
  const { promptTokens = 128, rounds = 2, stepsPerBlock = 16 } = given;
  const { repeats = given.untilSure === undefined ? REPEATS : MOST_REPEATS } = given;
  return { promptTokens, repeats, rounds, stepsPerBlock };
}

const REPEATS = 5;
const MOST_REPEATS = 50;

/**
 * Repeats before it may be sure. Whoever looks after each repeat sees a bound of 95 % broken by chance more often than one time in
 * twenty. One of 99.9 % on the way leaves the confidence at the end as it is (Haybittle 1971, Peto 1976).
 */
const LEAST_REPEATS = 8;

/** Whether the mean ratio is above 1 or below it with a confidence of 99.9 %. */
function isSure(repeats: readonly (readonly Milliseconds[])[]): boolean {
  if (repeats.length < LEAST_REPEATS || repeats[0][0].length < 2) return false;
  const logarithms = logarithmsOf(ratiosOf(repeats));
  const [over, under] = [logarithms, logarithms.map((logarithm) => -logarithm)].map(
    (values) => ratioOf(values, '99.9 %').upperBound ?? 1,
  );
  return over < 1 || under < 1;
}

/**
 * All models read the first `promptTokens` of `tokens`, then decode the following ones. The cache grows from round to
 * round. Of two models, the first is the baseline. Throws `usage` when there are too few tokens.
 *
 * The place of a session's weights in memory moves its speed by up to a tenth and is decided when the session opens. So
 * all of this is repeated in new sessions, and medians and spreads are over the rounds of all repeats.
 */
export async function bench(
  subjects: OpenSubjects,
  tokens: readonly number[],
  options: BenchOptions = {},
): Promise<BenchResult> {
  const { threads, memoryBandwidth } = options;
  const { untilSure } = options;
  const { promptTokens, repeats: most, rounds, stepsPerBlock } = countsOf(options);
  const { progress = SILENT, signal, now = () => performance.now() } = options;
  checkLength(promptTokens + (rounds + 1) * stepsPerBlock, tokens.length, options.contextLength);
  const prompt = [tokens.slice(0, promptTokens)];
  const blocks = Array.from({ length: rounds + 1 }, (_, round) => {
    const start = promptTokens + round * stepsPerBlock;
    return tokens.slice(start, start + stepsPerBlock).map((token) => [token]);
  });
  const stage = progress.stage('Timing', most * (2 + blocks.length), 'rounds');
  const course = { prompt, blocks, now, signal, stage };
  const timed: Awaited<ReturnType<typeof timeRepeat>>[] = [];
  const begun = now();
  for (let repeat = 0; repeat < most; repeat++) {
    timed.push(await withOpened(subjects, repeat, signal, (opened) => timeRepeat(opened, course)));
    if (untilSure === undefined) continue;
    if (now() - begun >= 1000 * untilSure || isSure(timed.map(({ decodes }) => decodes))) break;
  }
  const repeats = timed.length;
  stage.done(repeats < most ? `${repeats} repeats` : undefined);
  const prefills = timed.map(({ prefill }) => prefill);
  const decodes = timed.flatMap((repeat) => repeat.decodes);
  const [{ subjects: opened }] = timed;
  const [first, second] = opened.map(({ expectedStep }) => expectedStep);
  return {
    threads: threads ?? null,
    promptTokens,
    repeats,
    rounds,
    stepsPerBlock,
    memoryBandwidth: memoryBandwidth ?? null,
    subjects: opened.map((subject, index) => {
      const { name, engine = null, ffnBytesPerToken = null, weightBytesPerToken = null, expectedStep } = subject;
      const decodeTokensPerSecond = rates(decodes, index, stepsPerBlock);
      const isKnown = weightBytesPerToken !== null && memoryBandwidth !== undefined;
      return {
        name,
        engine,
        decodeTokensPerSecond,
        prefillTokensPerSecond: rates(prefills, index, promptTokens),
        ffnBytesPerToken,
        weightBytesPerToken,
        bandwidthShare: isKnown ? (weightBytesPerToken * decodeTokensPerSecond.median) / memoryBandwidth : null,
        expectedTokensPerSecond: expectedStep === undefined ? null : 1 / expectedStep,
        expectedError: expectedStep === undefined ? null : expectedStep * decodeTokensPerSecond.median - 1,
      };
    }),
    speedup: speedupOf(timed.map((repeat) => repeat.decodes)),
    prefillSpeedup: speedupOf(prefills.map((prefill) => [prefill])),
    expectedSpeedup: first === undefined || second === undefined ? null : first / second,
  };
}

/** Opens the models one after the other, each time starting with another one, and always closes what it opened. */
async function withOpened<T>(
  subjects: OpenSubjects,
  first: number,
  signal: AbortSignal | undefined,
  use: (opened: readonly BenchSubject[]) => Promise<T>,
): Promise<T> {
  const opened: BenchSubject[] = [];
  try {
    for (const turn of subjects.keys()) {
      throwIfAborted(signal);
      const index = (first + turn) % subjects.length;
      opened[index] = await subjects[index]();
    }
    return await use(opened);
  } finally {
    // `map` skips those that could not be opened.
    await Promise.all(opened.map(({ session }) => session.close()));
  }
}

/** The time that each subject took for its two blocks of a round. */
type Milliseconds = readonly number[];

/** What a session gets in one call. */
type Feeds = readonly (readonly number[])[];

/** What a repeat feeds, and how it is observed. */
interface Course extends Required<Pick<BenchOptions, 'now'>>, Pick<BenchOptions, 'signal'> {
  readonly prompt: Feeds;
  /** For each round. The first is not timed. */
  readonly blocks: readonly Feeds[];
  readonly stage: ProgressStage;
}

/** One block of each kind comes first and does not count: it meets cold caches and a runtime that still allocates. */
async function timeRepeat(opened: readonly BenchSubject[], course: Course) {
  const { prompt, blocks, now, signal, stage } = course;
  const sessions = opened.map(({ session }) => session);
  const once = [...sessions.keys()];
  // The order 0 1 1 0: slow drift of the machine affects both alike.
  const twice = [...once, ...once.toReversed()];
  const empty = sessions.map((session) => session.emptyCache());
  // Caches of the last turns. A session with one cache in place has overwritten the earlier ones.
  let grown = empty;
  /** Times the sessions in this order. Every turn of a session continues its cache in `caches`. */
  const time = async (order: readonly number[], feeds: Feeds, caches: readonly KvCache[]): Promise<Milliseconds> => {
    throwIfAborted(signal);
    const milliseconds = sessions.map(() => 0);
    grown = [...caches];
    for (const index of order) {
      const start = now();
      grown[index] = await feedAll(sessions[index], feeds, caches[index]);
      milliseconds[index] += now() - start;
    }
    stage.advance(1);
    return milliseconds;
  };
  await time(once, prompt, empty);
  const prefill = await time(twice, prompt, empty);
  await time(once, blocks[0], grown);
  const decodes: Milliseconds[] = [];
  for (const block of blocks.slice(1)) decodes.push(await time(twice, block, grown));
  return { subjects: opened.map(({ session, ...subject }) => subject), prefill, decodes };
}

/** Tokens fed one by one, decoded in the session's fastest way. */
async function feedAll(session: Session, feeds: Feeds, cache: KvCache): Promise<KvCache> {
  if (session.decode !== undefined && feeds.every(({ length }) => length === 1))
    return (await session.decode(feeds.flat(), cache)).cache;
  let grown = cache;
  for (const feed of feeds) grown = (await session.step(feed, grown)).cache;
  return grown;
}

function rates(rounds: readonly Milliseconds[], index: number, tokensPerBlock: number): Spread {
  return spread(rounds.map((milliseconds) => (2 * tokensPerBlock * 1000) / milliseconds[index]));
}

/** Rounds of one opening are alike, so the bounds count each opening once, by the mean logarithm of its ratios. */
function speedupOf(repeats: readonly (readonly Milliseconds[])[]): Speedup | null {
  if (repeats[0][0].length < 2) return null;
  const ratios = ratiosOf(repeats);
  const logarithms = logarithmsOf(ratios);
  const inverse = ratioOf(logarithms.map((logarithm) => -logarithm)).upperBound;
  return {
    ...spread(ratios.flat()),
    lowerBound: inverse === null ? null : 1 / inverse,
    upperBound: ratioOf(logarithms).upperBound,
  };
}

/** Of each round of each repeat, the first's time over the second's. */
function ratiosOf(repeats: readonly (readonly Milliseconds[])[]): number[][] {
  return repeats.map((rounds) => rounds.map(([first, second]) => first / second));
}

/** The mean logarithm of each repeat's ratios. */
function logarithmsOf(ratios: readonly (readonly number[])[]): number[] {
  return ratios.map((rounds) => rounds.reduce((sum, ratio) => sum + Math.log(ratio), 0) / rounds.length);
}

/** Median and outer deciles, linear between neighbours. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  };
  return { median: at(0.5), p10: at(0.1), p90: at(0.9) };
}

function checkLength(wanted: number, given: number, contextLength = Number.POSITIVE_INFINITY): void {
  if (wanted > contextLength)
    throw new LacunaError(
      'usage',
      `The benchmark fills the cache with ${wanted} tokens, but the model's context is ${contextLength}`,
      { hint: 'Ask for a shorter prompt, or fewer or shorter rounds.' },
    );
  if (given < wanted)
    throw new LacunaError(
      'usage',
      `Expected a text of at least ${wanted} tokens for the benchmark, but it has ${given}`,
      { hint: 'Give a longer text, or fewer rounds.' },
    );
}
