/** Decode speed of one model, or of two against each other in one process, so that both meet the same machine. */
import { invalidArgument, LacunaError, throwIfAborted } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import type { KvCache, Session } from '../core/session.ts';

export interface BenchSubject {
  readonly name: string;
  readonly session: Session;
  readonly ffnBytesPerToken?: number;
  readonly weightBytesPerToken?: number;
}

export interface BenchOptions extends JobOptions {
  readonly promptTokens?: number;
  /** Tokens that every model can attend to; no limit when absent. */
  readonly contextLength?: number;
  readonly rounds?: number;
  /** Tokens decoded a block; a round has two blocks of each model. */
  readonly stepsPerBlock?: number;
  /** What the threads read from memory at most, in bytes a second. */
  readonly memoryBandwidth?: number;
  /** Milliseconds from any origin. */
  readonly now?: () => number;
}

export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

export interface SubjectResult {
  readonly name: string;
  readonly decodeTokensPerSecond: Spread;
  readonly prefillTokensPerSecond: Spread;
  readonly ffnBytesPerToken: number | null;
  readonly weightBytesPerToken: number | null;
  /** Of `memoryBandwidth`, what decoding reads weights at. */
  readonly bandwidthShare: number | null;
}

export interface BenchResult {
  readonly threads: number | null;
  readonly promptTokens: number;
  readonly rounds: number;
  readonly stepsPerBlock: number;
  readonly memoryBandwidth: number | null;
  readonly subjects: readonly SubjectResult[];
  /** Time of the first / time of the second, per round; null for one model. */
  readonly speedup: Spread | null;
  readonly prefillSpeedup: Spread | null;
}

/** Reading the prompt takes as long as many steps: fewer repeats do. */
const PREFILL_ROUNDS = 3;

type Subjects = readonly [BenchSubject] | readonly [BenchSubject, BenchSubject];

/**
 * Both models read the first `promptTokens` of `tokens`, then decode the following ones; from round to round the cache
 * grows. Of two models, the first is the baseline. Throws `usage` when there are too few tokens.
 *
 * @example
 * const { speedup } = await bench([{ name: 'dense', session: dense }, { name: 'sparse', session: sparse }], tokens);
 */
export async function bench(
  subjects: Subjects,
  tokens: readonly number[],
  options: BenchOptions = {},
): Promise<BenchResult> {
  const { promptTokens = 128, rounds = 10, stepsPerBlock = 16, threads, progress = SILENT, signal } = options;
  const { memoryBandwidth } = options;
  const now = options.now ?? (() => performance.now());
  checkCounts({ promptTokens, rounds, stepsPerBlock }, tokens.length, options.contextLength);
  const stage = progress.stage('Timing', PREFILL_ROUNDS + 1 + rounds + 1, 'rounds');
  const prompt = tokens.slice(0, promptTokens);
  let caches = subjects.map(({ session }) => session.emptyCache());
  const timeBlocks = async (feeds: readonly (readonly number[])[]) => {
    throwIfAborted(signal);
    const round = await timeRound(subjects, caches, feeds, now);
    stage.advance(1);
    return round;
  };

  const prefills: Round[] = [];
  for (let i = 0; i <= PREFILL_ROUNDS; i++) prefills.push(await timeBlocks([prompt]));
  // The last: where a session has one cache in place, earlier ones have been written over.
  caches = [...prefills[PREFILL_ROUNDS].caches];
  const decodes: Round[] = [];
  for (let i = 0; i <= rounds; i++) {
    const start = promptTokens + i * stepsPerBlock;
    const round = await timeBlocks(tokens.slice(start, start + stepsPerBlock).map((token) => [token]));
    caches = [...round.caches];
    decodes.push(round);
  }
  stage.done();
  // The first round of each kind meets cold caches and a runtime that still allocates.
  const timed = { prefills: prefills.slice(1), decodes: decodes.slice(1) };
  return {
    threads: threads ?? null,
    promptTokens,
    rounds,
    stepsPerBlock,
    memoryBandwidth: memoryBandwidth ?? null,
    subjects: subjects.map(({ name, ffnBytesPerToken = null, weightBytesPerToken = null }, index) => {
      const decodeTokensPerSecond = rates(timed.decodes, index, stepsPerBlock);
      const bytesPerSecond = weightBytesPerToken === null ? null : weightBytesPerToken * decodeTokensPerSecond.median;
      return {
        name,
        decodeTokensPerSecond,
        prefillTokensPerSecond: rates(timed.prefills, index, promptTokens),
        ffnBytesPerToken,
        weightBytesPerToken,
        bandwidthShare:
          bytesPerSecond === null || memoryBandwidth === undefined ? null : bytesPerSecond / memoryBandwidth,
      };
    }),
    speedup: ratios(timed.decodes),
    prefillSpeedup: ratios(timed.prefills),
  };
}

interface Round {
  /** Of each subject, over its two blocks. */
  readonly milliseconds: readonly number[];
  readonly caches: readonly KvCache[];
}

/** Blocks in the order 0 1 1 0: a machine that slowly gets faster or slower does so for both alike. */
async function timeRound(
  subjects: Subjects,
  caches: readonly KvCache[],
  feeds: readonly (readonly number[])[],
  now: () => number,
): Promise<Round> {
  const order = subjects.length === 2 ? [0, 1, 1, 0] : [0, 0];
  const milliseconds = subjects.map(() => 0);
  const grown = [...caches];
  for (const index of order) {
    const { session } = subjects[index];
    let cache = caches[index];
    const start = now();
    cache = await feedAll(session, feeds, cache);
    milliseconds[index] += now() - start;
    grown[index] = cache;
  }
  return { milliseconds, caches: grown };
}

/** Tokens fed one by one are decoded as the session does that best. */
async function feedAll(session: Session, feeds: readonly (readonly number[])[], cache: KvCache): Promise<KvCache> {
  if (session.decode !== undefined && feeds.every(({ length }) => length === 1))
    return (await session.decode(feeds.flat(), cache)).cache;
  let grown = cache;
  for (const feed of feeds) grown = (await session.step(feed, grown)).cache;
  return grown;
}

function rates(rounds: readonly Round[], index: number, tokensPerBlock: number): Spread {
  return spread(rounds.map(({ milliseconds }) => (2 * tokensPerBlock * 1000) / milliseconds[index]));
}

function ratios(rounds: readonly Round[]): Spread | null {
  if (rounds[0].milliseconds.length < 2) return null;
  return spread(rounds.map(({ milliseconds: [first, second] }) => first / second));
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

function checkCounts(
  counts: Readonly<Record<'promptTokens' | 'rounds' | 'stepsPerBlock', number>>,
  given: number,
  contextLength = Number.POSITIVE_INFINITY,
): void {
  for (const [name, count] of Object.entries(counts))
    if (!(Number.isInteger(count) && count >= 1)) throw invalidArgument(name, 'an integer of at least 1', count);
  const wanted = counts.promptTokens + (counts.rounds + 1) * counts.stepsPerBlock;
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
      {
        hint: 'Give a longer text, or fewer rounds.',
      },
    );
}
