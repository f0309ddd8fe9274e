/**
 * Weights in blocks of 32 columns with a float16 scale each, as MatMulNBits has them without zero points: uint8 codes
 * [rows, blocks, 16 or 32] and scales [rows * blocks]. Bodies cast scales to the type of MatMulNBits's input; a runtime
 * does that once.
 *
 * What is read of chosen neurons alone is there twice. Kernels read `records`, where a neuron's rows lie in a page or
 * two. The body reads matrices, `down` as the checkpoint has it, [h, f]: stock ONNX Runtime has no fast product with
 * blocks along the other axis. Both hold the same numbers: `down` is rounded once, neuron by neuron, and its matrix has
 * 8 bits, which hold each of them (`TurnableMatrix`). gate and up are one matrix, the gate's rows first, where both
 * read all of x: stock ONNX Runtime rounds x and wakes its threads once.
 */
import type { FfnMatrix } from '../../core/choice.ts';
import { attr } from '../../core/graph.ts';
import type { GraphBuilder } from '../../core/graph-builder.ts';
import { joinPlanes } from '../../core/planes.ts';
import { type CodeBits, hasPlanes, records, type TensorExpr } from '../../core/tensor.ts';
import type { InputSize, Projections, StorageKind } from './storage.ts';

/** Columns a block: the one size that kernels are compiled for. */
export const FFN_BLOCK_SIZE = 32;

/** Lets MatMulNBits round its input to 8 bits a block, as kernels do. */
const INT8_ACTIVATIONS = 4;

type Size = InputSize | 'intermediate_size' | 'gate_up_size';

/** x W^T by codes and scales of a weight, of as many columns and rows as the calling node's attributes `sizes` say. */
export function blockProduct(
  g: GraphBuilder,
  x: string,
  [codes, scales]: readonly [string, string],
  bits: CodeBits,
  [columns, rows]: readonly [Size, Size],
  output: string,
): string {
  const joined = hasPlanes(bits) ? joinPlanes(g, codes, bits) : codes;
  return g.contrib('MatMulNBits', [x, joined, g.cast(scales, 'float32')], {
    attributes: {
      K: attr.reference(columns, 'int'),
      N: attr.reference(rows, 'int'),
      bits: attr.int(hasPlanes(bits) ? 8 : bits),
      block_size: attr.int(FFN_BLOCK_SIZE),
      accuracy_level: attr.int(INT8_ACTIVATIONS),
    },
    outputs: [output],
  });
}

/** x times one matrix of gate and up, or of a predictor's, [..., 2 f]. */
export function bothProducts(g: GraphBuilder, x: string, weight: readonly [string, string], bits: CodeBits): string {
  return blockProduct(g, x, weight, bits, ['hidden_size', 'gate_up_size'], g.fresh('both'));
}

/** The halves of a product with both. */
export function splitProjections(g: GraphBuilder, both: string): Projections {
  const attributes = { axis: attr.int(-1), num_outputs: attr.int(2) };
  const [gate, up] = g.ops('Split', [both], { attributes, outputs: [g.fresh('gate_product'), g.fresh('up_product')] });
  return { gate, up };
}

function blocks(bits: CodeBits): StorageKind {
  const product = (g: GraphBuilder, x: string, weight: string, sizes: readonly [Size, Size], output: string) =>
    blockProduct(g, x, [weight, `${weight}_scales`], bits, sizes, output);
  const down = (g: GraphBuilder, act: string, stored: CodeBits, output: string) =>
    blockProduct(g, act, ['down', 'down_scales'], stored, ['intermediate_size', 'hidden_size'], output);
  return {
    inputs: ['down', 'down_scales'],
    projections: ['gate_up', 'gate_up_scales'],
    splitProjections: ['gate', 'gate_scales', 'up', 'up_scales'],
    sized: true,
    branches: true,
    project: (g, x, projection, size) => product(g, x, projection, [size, 'intermediate_size'], g.fresh('product')),
    projectBoth: (g, x) => splitProjections(g, bothProducts(g, x, ['gate_up', 'gate_up_scales'], bits)),
    combine: (g, act, output) => down(g, act, bits, output),
    combineRecorded: (g, act, output) => down(g, act, 8, output),
    // Nothing is `gathered`: rows have no constant number then, which MatMulNBits wants; GatherBlockQuantized and a float
    // product take 50 times as long as multiplying by all rows.
  };
}

/** Records are filled up with zeros to whole lines of a processor's cache. */
const RECORD_ALIGNMENT = 64;

/** Codes and scales of each matrix, a row a neuron. */
export type NeuronRows = Readonly<Record<FfnMatrix, readonly TensorExpr[]>>;

/** Input `records`, uint8 [neurons, bytes]: a neuron's codes and scales of each of these matrices, in order. */
export function neuronRecords(recorded: readonly FfnMatrix[], neurons: number, rows: NeuronRows): TensorExpr {
  const parts = recorded.flatMap((matrix) => rows[matrix]);
  return records(neurons, parts, RECORD_ALIGNMENT);
}

export const int8 = blocks(8);
export const int6 = blocks(6);
export const int5 = blocks(5);
export const int4 = blocks(4);
