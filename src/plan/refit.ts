/**
 * Fits a block's map and gate anew to the tokens that arrive once earlier blocks are replaced. What the map is fitted to is
 * what the stream lacks there, so it makes up for what earlier maps get wrong. With a gate, the map is fitted to the tokens
 * that take it and to no others: gate and map are fitted in turns, as in clusterwise regression (Späth 1979).
 */
import type { ArrivingTokens, Products, StandIn } from '../core/arriving.ts';
import { LacunaError } from '../core/errors.ts';
import { percent } from '../core/figures.ts';
import type { BlockPlan, Repair } from '../core/plan.ts';
import { type ErrorGate, errorQuantiles, expectedError, fitErrorGate } from './error-gate.ts';
import { fitLowRank, type LinearMoments, type LowRankMap, lowRankMap } from './low-rank-fit.ts';

/** How often a gate chooses the tokens that its map is fitted to. */
const TURNS = 1;

/** A map is fitted to this many times the tokens that take it: those near the threshold, which may take it in other texts. */
const BESIDES = 1.25;

/** Tokens of one product: their rows are in memory twice. */
const CHUNK = 4096;

export interface RefitBlock {
  readonly block: RepairedBlock;
  readonly map: LowRankMap;
  /** Absent where all tokens take the map. */
  readonly gate?: GateTensors;
  readonly standIn: StandIn;
}

/** What a gate names. */
export interface GateTensors {
  /** [hidden] */
  readonly slope: Float32Array;
  /** `errorQuantiles` */
  readonly quantiles: Float32Array;
}

export type RepairedBlock = BlockPlan & { readonly repair: Repair };

/**
 * As many tokens take the map as the plan says of the block; without a gate, all. `warmUpTokens`: positions below take
 * none where there is a gate. Throws `usage` for fewer tokens than there are to take it.
 */
export async function refitBlock(
  block: RepairedBlock,
  tokens: ArrivingTokens,
  warmUpTokens: number,
  products: Products,
): Promise<RefitBlock> {
  const { repair } = block;
  const count = tokens.positions.length;
  const all = Array.from({ length: count }, (_, token) => token);
  if (repair.gate === undefined) {
    const { map, explained } = await mapOf(tokens, all, repair.rank, products);
    const standIn = { rows: await mapped(map, tokens.x, products), skips: new Uint8Array(count).fill(1) };
    return { block: { ...block, why: whyOf(explained) }, map, standIn };
  }
  const past = all.filter((token) => tokens.positions[token] >= warmUpTokens);
  const taking = Math.round((block.expected.skipped ?? 0) * count);
  if (taking < 1 || taking > past.length)
    throw new LacunaError(
      'usage',
      `${taking} tokens are to skip ${block.block}, but ${past.length} are past the warm-up`,
      {
        hint: 'Give more text with --data, or plan for another share.',
      },
    );
  let { map, explained } = await mapOf(tokens, past, repair.rank, products);
  for (let turn = 0; turn < TURNS; turn++) {
    const { order } = await gateOf(map, tokens, past, products);
    const near = order.slice(0, Math.ceil(BESIDES * taking));
    ({ map, explained } = await mapOf(tokens, near, repair.rank, products));
  }
  const { gate, order, expected, rows } = await gateOf(map, tokens, past, products);
  const skips = new Uint8Array(count);
  for (const token of order.slice(0, taking)) skips[token] = 1;
  const { slope, curvature, intercept } = gate;
  const [within, beyond] = [order[taking - 1], order[Math.min(taking, order.length - 1)]];
  const threshold = (expected[within] + expected[beyond]) / 2;
  return {
    block: {
      ...block,
      repair: { ...repair, gate: { ...repair.gate, threshold, curvature, intercept } },
      why: whyOf(explained),
    },
    map,
    gate: { slope, quantiles: errorQuantiles(Float64Array.from(order, (token) => expected[token])) },
    standIn: { rows, skips },
  };
}

function whyOf(explained: number): string {
  return `fitted with earlier maps in place, the map explains ${percent(explained)} of what is wanted of it`;
}

/** The map that comes nearest to what is wanted of these tokens, and which share of its variance it explains. */
async function mapOf(tokens: ArrivingTokens, chosen: readonly number[], rank: number, products: Products) {
  const moments = await momentsOf(tokens, chosen, products);
  const fit = fitLowRank(moments, rank);
  return { map: lowRankMap(fit, moments, rank), explained: fit.explained[rank] };
}

/** Second moments of inputs and of what is wanted, both less their means, which are summed first. */
async function momentsOf(
  { x, wanted, factors }: ArrivingTokens,
  chosen: readonly number[],
  { square }: Products,
): Promise<LinearMoments> {
  const hidden = x.length / factors.length;
  const total = chosen.reduce((sum, token) => sum + factors[token], 0);
  const meanOf = (rows: Float32Array) => {
    const mean = new Float64Array(hidden);
    for (const token of chosen) addScaled(mean, rows, token * hidden, factors[token] / total);
    return mean;
  };
  const [meanX, meanY] = [meanOf(x), meanOf(wanted)];
  const [xx, xy] = [new Float64Array(hidden * hidden), new Float64Array(hidden * hidden)];
  const width = 2 * hidden;
  let variance = 0;
  for (let first = 0; first < chosen.length; first += CHUNK) {
    const part = chosen.slice(first, first + CHUNK);
    const rows = new Float32Array(part.length * width);
    for (const [at, token] of part.entries()) {
      const root = Math.sqrt(factors[token] / total);
      for (let i = 0; i < hidden; i++) {
        rows[at * width + i] = root * (x[token * hidden + i] - meanX[i]);
        rows[at * width + hidden + i] = root * (wanted[token * hidden + i] - meanY[i]);
      }
    }
    const joint = await square(rows, width);
    for (let i = 0; i < hidden; i++) {
      variance += joint[(hidden + i) * width + hidden + i];
      for (let j = 0; j < hidden; j++) {
        xx[i * hidden + j] += joint[i * width + j];
        xy[i * hidden + j] += joint[i * width + hidden + j];
      }
    }
  }
  return { hidden, meanX, meanY, xx, xy, variance };
}

function addScaled(sum: Float64Array, rows: Float32Array, from: number, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] += factor * rows[from + i];
}

/** The gate of a map, the tokens in the order of the error that it expects, that error by token, and the map's rows. */
async function gateOf(map: LowRankMap, tokens: ArrivingTokens, past: readonly number[], products: Products) {
  const { x, wanted, factors } = tokens;
  const hidden = map.offset.length;
  const rows = await mapped(map, x, products);
  const errors = Float64Array.from(past, (token) => {
    let square = 0;
    for (let i = token * hidden; i < (token + 1) * hidden; i++) square += (wanted[i] - rows[i]) ** 2;
    return (factors[token] * square) / hidden;
  });
  const inputs = new Float32Array(past.length * hidden);
  for (const [at, token] of past.entries()) inputs.set(x.subarray(token * hidden, (token + 1) * hidden), at * hidden);
  const gate: ErrorGate = await fitErrorGate(inputs, errors, hidden, products.square);
  const expected = new Float64Array(factors.length);
  for (const token of past) expected[token] = expectedError(gate, x.subarray(token * hidden, (token + 1) * hidden));
  return { gate, expected, rows, order: past.toSorted((a, b) => expected[a] - expected[b]) };
}

/** expand (reduce x) + offset */
async function mapped(
  { reduce, expand, offset }: LowRankMap,
  x: Float32Array,
  { times }: Products,
): Promise<Float32Array> {
  const hidden = offset.length;
  const rows = await times(await times(x, reduce, hidden), expand, reduce.length / hidden);
  const result = rows.slice();
  for (let i = 0, column = 0; i < result.length; i++, column = (column + 1) % hidden) result[i] += offset[column];
  return result;
}
