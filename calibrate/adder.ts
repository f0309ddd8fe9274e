/** Adds sequences to the sums of statistics, one after the other, in the thread that it is opened in. */
import { specOfLayer } from '../src/core/model.ts';
import type { OpenSums, RunShape, SequenceContext, Statistic, TapValues } from './statistic.ts';

/** Sums by statistic. */
export type NamedSums = Readonly<Record<string, OpenSums>>;

/** What an adder gets of a sequence besides its values. */
export type SequenceFacts = Pick<SequenceContext, 'tokens' | 'firstToken' | 'downNorms'>;

/** All arguments and results are plain data, so that it may be in another thread. */
export interface Adder {
  /** A layer begins. `names` are the statistics `byLayer` that measure it. */
  begin(names: readonly string[], layer: number): Promise<void>;
  add(layer: number, taps: TapValues, facts: SequenceFacts): Promise<void>;
  addHead(headIn: Float32Array, tokens: number): Promise<void>;
  /** The layer is done. Gives the sums that are kept by layer. */
  endLayer(): Promise<NamedSums>;
  /** The run is done. Gives the sums of all layers together. */
  end(): Promise<NamedSums>;
}

export function openAdder(statistics: readonly Statistic[], shape: RunShape, square: SequenceContext['square']): Adder {
  const { spec } = shape;
  const opened = (statistic: Statistic, of = spec) => ({ statistic, sums: statistic.empty({ ...shape, spec: of }) });
  const whole = statistics.filter(({ byLayer = false }) => !byLayer).map((one) => opened(one));
  let own: typeof whole = [];
  return {
    async begin(names, layer) {
      const wanted = statistics.filter(({ name, byLayer = false }) => byLayer && names.includes(name));
      own = wanted.map((one) => opened(one, specOfLayer(spec, layer)));
    },
    async add(layer, taps, facts) {
      for (const { statistic, sums } of [...whole, ...own])
        await statistic.add(sums, layer, taps, { spec: specOfLayer(spec, layer), square, ...facts });
    },
    async addHead(headIn, tokens) {
      for (const { statistic, sums } of [...whole, ...own])
        await statistic.addHead?.(sums, headIn, { spec, square, tokens });
    },
    endLayer: async () => byName(own),
    end: async () => byName(whole),
  };
}

function byName(measured: readonly { statistic: Statistic; sums: OpenSums }[]): NamedSums {
  return Object.fromEntries(measured.map(({ statistic, sums }) => [statistic.name, sums]));
}
