/** The measures of src/core/choice.ts as bodies compute them: a new one is an entry here. */
import type { MeasureName, NeuronChoice } from '../../core/choice.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { activate } from '../activations.ts';
import { reduceLast } from '../body.ts';
import { statisticalTopK } from '../statistical-top-k.ts';
import { bothProducts, splitProjections } from './block-storage.ts';
import type { Measure, SelectionContext } from './selection.ts';
import type { Projections } from './storage.ts';

const BY_NAME: Readonly<Record<MeasureName, Measure>> = {
  /**
   * Before the activation: cut by its deviation it is StatisticalTopK (Spark Transformer, section 3; Gemma 3n). Exact:
   * activations of gated FFNs are 0 at 0, so a neuron with gate 0 adds nothing.
   */
  gate: {
    inputs: [],
    select(g, choice, { activation, neurons, runDense, project }) {
      if (choice.cut !== 'deviation') throw new RangeError(`Measure gate has no cut ${choice.cut}`);
      const gate = project('gate');
      const { y, chosen } = statisticalTopK(g, gate, neurons(), choice.mode);
      if (runDense === undefined) return { act: activate(g, activation, y), chosen: () => g.cast(chosen(), 'float32') };
      const picked = g.op('Where', [runDense, gate, y]);
      return {
        act: activate(g, activation, picked),
        chosen: () => g.cast(g.op('Or', [chosen(), runDense]), 'float32'),
      };
    },
  },

  /** CATS (2404.08763), with weights for what a neuron can do. */
  activation: {
    inputs: ['threshold', 'weights'],
    select(g, choice, { activation, runDense, project }) {
      const act = activate(g, activation, project('gate'));
      const chosen = chosenByScore(g, act, choice, runDense);
      return { act: g.op('Mul', [act, chosen]), chosen: () => chosen };
    },
  },

  /** With weights_j = ||down_j|| the size of what the neuron adds to y: no measure that keeps as many leaves out less. */
  product: {
    inputs: ['threshold', 'weights'],
    select(g, choice, { activation, runDense, project }) {
      const products = g.op('Mul', [activate(g, activation, project('gate')), project('up')]);
      const chosen = chosenByScore(g, products, choice, runDense);
      return { products: g.op('Mul', [products, chosen]), chosen: () => chosen };
    },
  },

  /**
   * That of `product` by gate and up in 4 bits in place of the true ones, with which what is chosen is computed.
   * `predictor` holds the codes of both, the gate's rows first, uint8 [2 f, blocks, 16], `predictor_scales` their
   * scales [2 f * blocks], in blocks of 32 as storage int4 has them. The body computes the whole gate besides: for the
   * same numbers, not to be fast.
   */
  predicted: {
    inputs: ['threshold', 'weights', 'predictor', 'predictor_scales'],
    select(g, choice, context) {
      const { x, activation, runDense, project } = context;
      const gate = project('gate');
      const both = splitProjections(g, bothProducts(g, x, ['predictor', 'predictor_scales'], 4));
      const chosen = chosenByScore(g, productOf(g, both, context), choice, runDense);
      return { act: g.op('Mul', [activate(g, activation, gate), chosen]), chosen: () => chosen };
    },
  },

  /**
   * As `predicted`, by a predictor that is part of the weights. gate and up of storage int8 come in two planes of 4
   * bits, W = upper + lower / 16, each uint8 [2 f, blocks, 16], with one scale a block for both. Input `gate_up` is the
   * upper plane, rounded to the nearest, so that it alone is the matrices in 4 bits; `gate_up_lower` is what it lacks.
   * A kernel reads the lower one's rows of chosen neurons alone, from the records.
   */
  nested: {
    storages: ['int8'],
    inputs: ['threshold', 'weights', 'gate_up_lower'],
    select(g, choice, context) {
      const plane = (name: 'gate_up' | 'gate_up_lower') => bothProducts(g, context.x, [name, 'gate_up_scales'], 4);
      const products = (both: string) => productOf(g, splitProjections(g, both), context);
      const upper = plane('gate_up');
      const chosen = chosenByScore(g, products(upper), choice, context.runDense);
      const whole = products(g.op('Add', [upper, g.op('Mul', [plane('gate_up_lower'), g.float(1 / 16)])]));
      return { products: g.op('Mul', [whole, chosen]), chosen: () => chosen };
    },
  },
};

export function measureOf({ measure }: NeuronChoice): Measure {
  return BY_NAME[measure];
}

/** act(gate) * up of projections without their biases. */
function productOf(g: GraphBuilder, { gate, up }: Projections, { activation, factor }: SelectionContext): string {
  const act = activate(g, activation, factor('gate', gate));
  return g.op('Mul', [act, factor('up', up)]);
}

/** The least weight that thresholds are divided by, float32's least normal number: 0 then lets a threshold of 0 pass. */
const LEAST_WEIGHT = 2 ** -126;

/**
 * `measure` [b, s, d_ff] -> float 1 where |measure_j| * weights_j >= threshold, or >= threshold times the token's mean of the
 * left side (cut `mean`), else 0. All are 1 where `runDense` is true.
 */
function chosenByScore(g: GraphBuilder, measure: string, { cut }: NeuronChoice, runDense: string | undefined): string {
  const size = g.op('Abs', [measure]);
  const { score, limit } = cut === 'mean' ? meanCut(g, size) : absoluteCut(g, size);
  const reached = runDense === undefined ? limit : g.op('Where', [runDense, g.float(Number.NEGATIVE_INFINITY), limit]);
  return g.cast(g.op('GreaterOrEqual', [score, reached]), 'float32');
}

/** |measure_j| >= threshold / weights_j, of which the right side is known on loading. */
function absoluteCut(g: GraphBuilder, size: string) {
  return { score: size, limit: g.op('Div', ['threshold', g.op('Max', ['weights', g.float(LEAST_WEIGHT)])]) };
}

function meanCut(g: GraphBuilder, size: string) {
  const score = g.op('Mul', [size, 'weights']);
  return { score, limit: g.op('Mul', [reduceLast(g, 'ReduceMean', score, true), 'threshold']) };
}
