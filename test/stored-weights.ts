/** Random FFN weights that a storage holds exactly, as numbers and as the tensors that GatedFFN takes. */
import type { FfnMatrix } from '../src/core/choice.ts';
import type { DType } from '../src/core/dtype.ts';
import { type BytesTensor, type CodeBits, float32Tensor, hasPlanes } from '../src/core/tensor.ts';
import type { Storage } from '../src/ops/index.ts';
import { castFloats } from '../src/quantize/float-cast.ts';
import { setInPlanes } from './code-planes.ts';

type Rows = readonly ArrayLike<number>[];

export interface StoredWeights {
  /** Neuron-major, [d][h]. */
  readonly rows: { readonly gate: Rows; readonly up: Rows; readonly down: Rows };
  readonly tensors: Readonly<Record<string, BytesTensor>>;
}

const BLOCK = 32;

/** d neurons, h outputs, and as many columns of gate and up. */
export interface FfnSizes {
  readonly d: number;
  readonly h: number;
  readonly gate: number;
  readonly up: number;
}

/** `next` gives floats in [-1, 1). A body reads `down` in 8 bits where it is in records. */
export function storedWeights(
  storage: Storage,
  sizes: FfnSizes,
  recorded: readonly FfnMatrix[],
  next: (count: number) => Float32Array,
): StoredWeights {
  const matrices = (
    {
      fp32: plainRows,
      fp16: float16Rows,
      bf16: bfloat16Rows,
      int8: 8,
      int6: 6,
      int5: 5,
      int4: 4,
    } as const satisfies Record<Storage, unknown>
  )[storage];
  if (typeof matrices === 'number') return blockWeights(matrices, sizes, recorded, next);
  const widths = [sizes.gate, sizes.up, sizes.h];
  const [gate, up, down] = widths.map((width) => matrices(Array.from({ length: sizes.d }, () => next(width))));
  return {
    rows: { gate: gate.rows, up: up.rows, down: down.rows },
    tensors: { gate: gate.tensor, up: up.tensor, down: down.tensor },
  };
}

function tensor(dtype: DType, shape: readonly number[], data: ArrayBufferView): BytesTensor {
  return { kind: 'bytes', dtype, shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

function plainRows(rows: readonly Float32Array[]) {
  const values = rows.flatMap((row) => Array.from(row));
  return { rows, tensor: float32Tensor(values, [rows.length, rows[0].length]) };
}

/** The upper halves of float32 numbers; what is cut off is gone from the rows too. */
function bfloat16Rows(rows: readonly Float32Array[]) {
  const cut = rows.map(
    (row) => new Float32Array(new Uint32Array(row.buffer.slice(0)).map((bits) => bits & 0xffff0000).buffer),
  );
  const halves = cut.flatMap((row) => Array.from(new Uint32Array(row.buffer), (bits) => bits >>> 16));
  return { rows: cut, tensor: tensor('bfloat16', [rows.length, rows[0].length], Uint16Array.from(halves)) };
}

/** Whole 1024ths, which float16 has all of between -1 and 1. */
function float16Rows(rows: readonly Float32Array[]) {
  const cut = rows.map((row) => row.map((value) => Math.round(1024 * value) / 1024));
  return { rows: cut, tensor: inFloat16(plainRows(cut).tensor) };
}

function inFloat16({ shape, bytes }: BytesTensor): BytesTensor {
  const halves = new Uint8Array(bytes.length / 2);
  castFloats(bytes, 'float32', halves, 'float16');
  return tensor('float16', shape, halves);
}

/** Random rows in 4 bits: as numbers, as codes [rows, blocks, 16], and their scales. */
export function int4Rows(rows: number, columns: number, next: (count: number) => Float32Array) {
  return blockMatrices(4, next).random(rows, columns);
}

/** Matrices in blocks of so many bits. */
function blockMatrices(bits: CodeBits, next: (count: number) => Float32Array) {
  const zero = 2 ** (bits - 1);
  const codes = (count: number) => Array.from(next(count), (value) => Math.floor(zero + zero * value));
  // Whole 1024ths of a number from 1 to 2, which float16 has all of.
  const scale = (value: number) => Math.round(1024 * (1.5 + value / 2)) / 1024 / zero;
  const matrix = (rows: number, columns: number, code: (row: number, column: number) => number, scales: number[]) => {
    const blocks = Math.ceil(columns / BLOCK);
    const scaleOf = (row: number, column: number) => scales[row * blocks + Math.floor(column / BLOCK)];
    return {
      rows: Array.from({ length: rows }, (_, row) =>
        Array.from({ length: columns }, (_, column) => scaleOf(row, column) * (code(row, column) - zero)),
      ),
      codes: packed(bits, rows, columns, code),
      scales: inFloat16(float32Tensor(scales)),
    };
  };
  const random = (rows: number, columns: number) => {
    const all = codes(rows * columns);
    const scales = Array.from(next(rows * Math.ceil(columns / BLOCK)), scale);
    return matrix(rows, columns, (row, column) => all[row * columns + column], scales);
  };
  return { codes, scale, matrix, random };
}

/** Scales of gate and up differ from block to block. */
function blockWeights(
  bits: CodeBits,
  { d, h, gate: gateColumns, up: upColumns }: FfnSizes,
  recorded: readonly FfnMatrix[],
  next: (count: number) => Float32Array,
): StoredWeights {
  const { random } = blockMatrices(bits, next);
  const [gate, up] = [random(d, gateColumns), random(d, upColumns)];
  const isTurnable = bits < 8 && recorded.includes('down');
  const { down, columns } = isTurnable ? turnableDown(bits, d, h, next) : blockDown(bits, d, h, next);
  return {
    rows: { gate: gate.rows, up: up.rows, down: down.rows },
    tensors: {
      gate: gate.codes,
      up: up.codes,
      gate_scales: gate.scales,
      up_scales: up.scales,
      ...(recorded.length > 0 && {
        records: joined(
          d,
          recorded.flatMap((name) => {
            const { codes, scales } = { gate, up, down }[name];
            return [codes, scales];
          }),
        ),
      }),
      ...columns,
    },
  };
}

/** Weights in blocks with gate and up in one matrix, as GatedFFN takes them; others are as they were. */
export function withOneMatrix(tensors: StoredWeights['tensors']): StoredWeights['tensors'] {
  const { gate, up, gate_scales, up_scales, ...rest } = tensors;
  if (gate_scales === undefined) return tensors;
  return { gate_up: stacked(gate, up), gate_up_scales: stacked(gate_scales, up_scales), ...rest };
}

/** One under the other. */
function stacked(above: BytesTensor, below: BytesTensor): BytesTensor {
  const shape = [above.shape[0] + below.shape[0], ...above.shape.slice(1)];
  return { ...above, shape, bytes: Uint8Array.from([...above.bytes, ...below.bytes]) };
}

/** gate and up in two planes of 4 bits, down in 8: what measure `nested` takes, and the upper planes as numbers. */
export function planeWeights({ d, h, gate, up }: FfnSizes, next: (count: number) => Float32Array) {
  const [gatePlanes, upPlanes] = [planes(d, gate, next), planes(d, up, next)];
  const { down, columns } = blockDown(8, d, h, next);
  return {
    rows: { gate: gatePlanes.rows, up: upPlanes.rows, down: down.rows },
    upper: { gate: gatePlanes.upper.rows, up: upPlanes.upper.rows },
    tensors: {
      gate_up: stacked(gatePlanes.upper.codes, upPlanes.upper.codes),
      gate_up_scales: stacked(gatePlanes.upper.scales, upPlanes.upper.scales),
      records: joined(d, [gatePlanes.lower.codes, upPlanes.lower.codes, down.codes, down.scales]),
      ...columns,
      gate_up_lower: stacked(gatePlanes.lower.codes, upPlanes.lower.codes),
    },
  };
}

/** upper + lower / 16, with the same scales. */
function planes(rows: number, columns: number, next: (count: number) => Float32Array) {
  const { codes, scale, matrix } = blockMatrices(4, next);
  const scales = Array.from(next(rows * Math.ceil(columns / BLOCK)), scale);
  const [upper, lower] = [codes(rows * columns), codes(rows * columns)].map((all) =>
    matrix(rows, columns, (row, column) => all[row * columns + column], scales),
  );
  const whole = upper.rows.map((row, j) => row.map((value, i) => value + lower.rows[j][i] / 16));
  return { rows: whole, upper, lower };
}

/**
 * `down` by neurons, and as the body takes it. Its scales differ from one 32 outputs to the next but are one for all neurons, so
 * that it is the same matrix in blocks along either axis.
 */
function blockDown(bits: CodeBits, d: number, h: number, next: (count: number) => Float32Array) {
  const { codes, scale, matrix } = blockMatrices(bits, next);
  const all = codes(d * h);
  const perOutput = Array.from(next(Math.ceil(h / BLOCK)), scale);
  const down = matrix(d, h, (j, i) => all[j * h + i], Array.from({ length: d }, () => perOutput).flat());
  const blocksOfNeurons = Math.ceil(d / BLOCK);
  const columnScales = Array.from(
    { length: h * blocksOfNeurons },
    (_, at) => perOutput[Math.floor(Math.floor(at / blocksOfNeurons) / BLOCK)],
  );
  const columns = matrix(h, d, (i, j) => all[j * h + i], columnScales);
  return { down, columns: { down: columns.codes, down_scales: columns.scales } };
}

/**
 * `down` by neurons in fewer than 8 bits, and the same numbers as the body takes them, in 8: a neuron's scales are whole
 * multiples of those that the body has for all of them, from 1 to 15 in 4 bits.
 */
function turnableDown(bits: CodeBits, d: number, h: number, next: (count: number) => Float32Array) {
  const { codes, matrix } = blockMatrices(bits, next);
  const middle = 2 ** (7 - bits);
  const all = codes(d * h);
  // Whole 64ths, of which float16 has all multiples.
  const perOutput = Array.from(next(Math.ceil(h / BLOCK)), (value) => Math.round(64 * (1.5 + value / 2)) / 64 / 64);
  const multiples = Array.from(next(d), (value) => middle + Math.round((middle - 1) * value));
  const down = matrix(
    d,
    h,
    (j, i) => all[j * h + i],
    multiples.flatMap((multiple) => perOutput.map((scale) => multiple * scale)),
  );
  const blocksOfNeurons = Math.ceil(d / BLOCK);
  const columnScales = Array.from(
    { length: h * blocksOfNeurons },
    (_, at) => perOutput[Math.floor(Math.floor(at / blocksOfNeurons) / BLOCK)],
  );
  const code = (i: number, j: number) => 128 + multiples[j] * (all[j * h + i] - 2 ** (bits - 1));
  const columns = blockMatrices(8, next).matrix(h, d, code, columnScales);
  return { down, columns: { down: columns.codes, down_scales: columns.scales } };
}

/** Each neuron's part of some tensors one after the other, up to a multiple of 64 bytes. */
function joined(neurons: number, parts: readonly BytesTensor[]) {
  const rows = Array.from({ length: neurons }, (_, j) => {
    const row = parts.flatMap(({ bytes }) => {
      const size = bytes.length / neurons;
      return Array.from(bytes.subarray(j * size, (j + 1) * size));
    });
    return [...row, ...new Array(-row.length & 63).fill(0)];
  });
  return tensor('uint8', [neurons, rows[0].length], Uint8Array.from(rows.flat()));
}

/** Codes as MatMulNBits packs them, or in planes; a last block that is not full is filled up with zeros. */
function packed(
  bits: CodeBits,
  rows: number,
  columns: number,
  code: (row: number, column: number) => number,
): BytesTensor {
  const blocks = Math.ceil(columns / BLOCK);
  const rowBytes = (blocks * BLOCK * bits) / 8;
  const bytes = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < blocks * BLOCK; column++) {
      const value = column < columns ? code(row, column) : 2 ** (bits - 1);
      const at = row * blocks * BLOCK + column;
      if (bits === 8) bytes[at] = value;
      else if (bits === 4) bytes[at >> 1] |= value << (4 * (at & 1));
      else setInPlanes(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), column, bits, value);
    }
  }
  return tensor('uint8', hasPlanes(bits) ? [rows, bits, blocks * 4] : [rows, blocks, (BLOCK * bits) / 8], bytes);
}
