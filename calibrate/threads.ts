/**
 * Shares the statistics of a run among threads, while the runtime runs the next sequence. A thread measures a shard, as
 * a machine does of a run over many machines: every n-th sequence. Shards merge to the same bits, so the sums do not
 * depend on the number of threads, and no statistic has to know of them.
 */
import { availableParallelism } from 'node:os';
import { startThread, threadEntry } from '../src/core/threads.ts';
import { type Adder, type NamedSums, openAdder, type SequenceFacts } from './adder.ts';
import { STATISTICS } from './list.ts';
import type { RunShape, SequenceContext, Statistic, TapValues } from './statistic.ts';

const ENTRY = threadEntry('calibrate/add-worker');

/** Each holds the values of a sequence in a layer, and sums of its own. */
const MOST_THREADS = 8;

/** What a thread is opened with. */
export interface Opening {
  readonly names: readonly string[];
  readonly shape: RunShape;
}

/** A call of an `Adder`. */
type Call = { [Name in keyof Adder]: { readonly name: Name; readonly args: Parameters<Adder[Name]> } }[keyof Adder];
type Answer = NamedSums | undefined;

/** Where a thread is reached. */
export interface Line {
  readonly post: (call: Call, transfer: readonly ArrayBuffer[]) => void;
  readonly close: () => Promise<unknown>;
}

/** Starts a thread. `hear` gets its answers, and `fail` what ended it. */
export type StartLine = (opening: Opening, hear: (answer: Answer) => void, fail: (error: unknown) => void) => Line;

export interface CrewOptions {
  readonly square: SequenceContext['square'];
  /** Threads of the runtime. The statistics get half as many besides. */
  readonly threads?: number | undefined;
  /** Starts a thread. */
  readonly start?: StartLine | undefined;
}

/** All who add up a run. */
export interface Crew extends Pick<Adder, 'begin' | 'end'> {
  /**
   * Adds the values of the `position`-th sequence, which are the crew's from then on. Resolves as soon as there is room
   * for the values of the next one.
   */
  add(position: number, layer: number, taps: TapValues, facts: SequenceFacts): Promise<void>;
  addHead(position: number, headIn: Float32Array, tokens: number): Promise<void>;
  /** The sums of a layer: those that were added in this thread, and a promise of the others. */
  endLayer(): Promise<{ readonly here: NamedSums; readonly away: Promise<NamedSums> }>;
  close(): Promise<void>;
}

export function openCrew(statistics: readonly Statistic[], shape: RunShape, options: CrewOptions): Crew {
  const { square, start = startWorker } = options;
  const shareable = statistics.filter((one) => !(one.usesRuntime ?? false) && STATISTICS.includes(one));
  const count = shareable.length === 0 ? 0 : threadsFor(shape, options);
  const names = count === 0 ? [] : shareable.map(({ name }) => name);
  const here = openAdder(
    statistics.filter(({ name }) => !names.includes(name)),
    shape,
    square,
  );
  const shards = shardsOf(shape, count);
  const others = shards.map((shard) => remoteAdder({ names, shape: shard }, start));
  /** Sequences that threads have not added yet, the oldest first. */
  const waiting: Promise<void>[] = [];
  const handOver = async (added: Promise<void>) => {
    waiting.push(handled(added));
    while (waiting.length > count) await waiting.shift();
  };
  const merged = async (parts: readonly Promise<NamedSums>[]): Promise<NamedSums> =>
    mergeNamed(await Promise.all(parts));
  return {
    async begin(wanted, layer) {
      await here.begin(wanted, layer);
      for (const other of others) handled(other.begin(wanted, layer));
    },
    async add(position, layer, taps, facts) {
      await here.add(layer, taps, facts);
      if (count === 0) return;
      const { sequences } = shards[position % count];
      const earlier = sequences.slice(0, Math.floor(position / count));
      const firstToken = earlier.reduce((sum, { tokens }) => sum + tokens, 0);
      await handOver(others[position % count].add(layer, taps, { ...facts, firstToken }));
    },
    async addHead(position, headIn, tokens) {
      await here.addHead(headIn, tokens);
      if (count > 0) await handOver(others[position % count].addHead(headIn, tokens));
    },
    endLayer: async () => ({
      here: await here.endLayer(),
      away: handled(merged(others.map((other) => other.endLayer()))),
    }),
    end: async () => ({ ...(await here.end()), ...(await merged(others.map((other) => other.end()))) }),
    close: async () => {
      await Promise.all(others.map((other) => other.close()));
    },
  };
}

/** None where the runtime has one thread: a user who asks for one gets one. */
function threadsFor({ sequences }: RunShape, { threads = availableParallelism(), start }: CrewOptions): number {
  if (start === undefined && ENTRY === undefined) return 0;
  return Math.min(Math.floor(threads / 2), sequences.length, MOST_THREADS);
}

function shardsOf({ spec, sequences }: RunShape, count: number): RunShape[] {
  return Array.from({ length: count }, (_, index) => {
    const own = sequences.filter((_, position) => position % count === index);
    return { spec, sequences: own, tokens: own.reduce((sum, { tokens }) => sum + tokens, 0) };
  });
}

function mergeNamed(parts: readonly NamedSums[]): NamedSums {
  const [first = {}] = parts;
  const merge = (name: string) => {
    const statistic = STATISTICS.find((one) => one.name === name) as Statistic;
    return parts.map(({ [name]: sums }) => sums).reduce(statistic.merge);
  };
  return Object.fromEntries(Object.keys(first).map((name) => [name, merge(name)]));
}

/** The promise, which may fail before anyone waits for it. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** An adder in another thread. It takes one call after the other, so answers come in the order of calls. */
function remoteAdder(opening: Opening, start: StartLine): Adder & Pick<Line, 'close'> {
  const asked: { resolve: (answer: Answer) => void; reject: (error: unknown) => void }[] = [];
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure = { error };
    for (const { reject } of asked.splice(0)) reject(error);
  };
  const line = start(opening, (answer) => asked.shift()?.resolve(answer), fail);
  const call = (wanted: Call) =>
    new Promise<Answer>((resolve, reject) => {
      if (failure !== undefined) throw failure.error;
      line.post(wanted, buffersOf(wanted));
      asked.push({ resolve, reject });
    });
  return {
    begin: async (...args) => void (await call({ name: 'begin', args })),
    add: async (...args) => void (await call({ name: 'add', args })),
    addHead: async (...args) => void (await call({ name: 'addHead', args })),
    endLayer: async () => (await call({ name: 'endLayer', args: [] })) ?? {},
    end: async () => (await call({ name: 'end', args: [] })) ?? {},
    close: line.close,
  };
}

/** Memory that goes over to the thread and is not copied. */
function buffersOf({ name, args }: Call): ArrayBuffer[] {
  if (name === 'add') return ownBuffers(Object.values(args[1]));
  return name === 'addHead' ? ownBuffers([args[0]]) : [];
}

function ownBuffers(arrays: readonly ArrayBufferView[]): ArrayBuffer[] {
  return [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
}

const startWorker: StartLine = (opening, hear, fail) => {
  if (ENTRY === undefined) throw new Error('There are no threads without a build');
  const { worker, ended } = startThread(ENTRY, opening, hear);
  ended.then(() => fail(new Error('A thread of calibration ended early')), fail);
  return { post: (call, transfer) => worker.postMessage(call, transfer), close: () => worker.terminate() };
};

/** The thread's part: what it does with a call. A failure ends the thread. */
export function answerCalls(
  { names, shape }: Opening,
  say: (answer: Answer, transfer: readonly ArrayBuffer[]) => void,
): (call: Call) => Promise<void> {
  const square = async (): Promise<never> => {
    throw new Error('A statistic of a thread has no runtime, wanted one marked `usesRuntime`');
  };
  const adder = openAdder(
    STATISTICS.filter(({ name }) => names.includes(name)),
    shape,
    square,
  );
  const answer = async ({ name, args }: Call) => {
    const method = adder[name] as (...args: Call['args']) => Promise<Answer>;
    const sums = await method(...args);
    say(sums, ownBuffers(Object.values(sums ?? {}).flatMap((one) => Object.values(one).map(({ data }) => data))));
  };
  let last = Promise.resolve();
  return (call) => {
    last = last.then(() => answer(call));
    return last;
  };
}
