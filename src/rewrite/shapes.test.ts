import { describe, expect, it } from 'vitest';
import { type Attribute, attr, BASE_OPSETS, type Graph, type Initializer } from '../core/graph.ts';
import { value } from '../core/graph-builder.ts';
import { float32Tensor, int64Tensor } from '../core/tensor.ts';
import { indexGraph } from './graph-index.ts';
import { inferShapes, type Shape, sameShape } from './shapes.ts';

const INPUTS = {
  x: ['b', 's', 12],
  y: ['b', 's', 12],
  row: [12],
  column: ['s', 1],
  ids: ['b', 's'],
  other: ['b', 't', 12],
  packed: ['b', 's', 48],
  weight: [12, 5],
  turned: [5, 12],
  codes: [100, 3, 16],
  flat: [100, 64],
} as const;

const constants: Record<string, Initializer['data']> = {
  target: int64Tensor([0, -1, 7]),
  last: int64Tensor([-1]),
  first: int64Tensor([0]),
  pads: int64Tensor([0, 1, 0, 0, 0, 2]),
  floats: float32Tensor([0, -1, 7]),
};

/** The shape that is inferred of output `position` of one node. */
function shapeOf(opType: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, position = 0) {
  const outputs = Array.from({ length: position + 1 }, (_, i) => `out${i}`);
  const graph: Graph = {
    name: 'one',
    inputs: Object.entries(INPUTS).map(([name, dims]) => value(name, 'float32', dims)),
    outputs: [],
    initializers: Object.entries(constants).map(([name, data]) => ({ name, data })),
    nodes: [{ name: 'n', opType, domain: opType.startsWith('Our') ? 'lacuna' : '', inputs, outputs, attributes }],
    functions: [],
    opsets: BASE_OPSETS,
    metadata: {},
  };
  return inferShapes(indexGraph(graph))(`out${position}`);
}

const heads = { num_heads: attr.int(4), kv_num_heads: attr.int(2) };

describe('inferShapes', () => {
  it.each<[string, readonly string[], Record<string, Attribute>, Shape | undefined]>([
    ['Relu', ['x'], {}, INPUTS.x],
    ['SkipSimplifiedLayerNormalization', ['x', 'y', 'row'], {}, INPUTS.x],
    ['Add', ['x', 'y'], {}, INPUTS.x],
    ['Mul', ['x', 'row'], {}, INPUTS.x],
    ['Sub', ['row', 'x'], {}, INPUTS.x],
    ['Div', ['x', 'column'], {}, INPUTS.x],
    // Two names may be one size or not.
    ['Add', ['x', 'other'], {}, undefined],
    ['Add', ['x', 'turned'], {}, undefined],
    ['Add', ['x', 'nowhere'], {}, undefined],
    ['Gather', ['weight', 'ids'], {}, ['b', 's', 5]],
    ['Gather', ['weight', 'ids'], { axis: attr.int(0) }, ['b', 's', 5]],
    ['Gather', ['weight', 'ids'], { axis: attr.int(1) }, undefined],
    ['Gather', ['weight', 'nowhere'], {}, undefined],
    ['MatMul', ['x', 'weight'], {}, ['b', 's', 5]],
    ['FusedMatMul', ['x', 'turned'], { transB: attr.int(1) }, ['b', 's', 5]],
    ['FusedMatMul', ['x', 'weight'], { transB: attr.int(0) }, ['b', 's', 5]],
    ['FusedMatMul', ['x', 'weight'], { transA: attr.int(1) }, undefined],
    ['MatMul', ['x', 'y'], {}, undefined],
    ['MatMulNBits', ['x', 'codes', 'row'], { N: attr.int(100), K: attr.int(12) }, ['b', 's', 100]],
    ['MatMulNBits', ['nowhere', 'codes', 'row'], { N: attr.int(100) }, undefined],
    ['GatherBlockQuantized', ['flat', 'ids'], { bits: attr.int(4) }, ['b', 's', 128]],
    ['GatherBlockQuantized', ['flat', 'ids'], { bits: attr.int(8) }, ['b', 's', 64]],
    ['GatherBlockQuantized', ['flat', 'ids'], {}, undefined],
    ['GatherBlockQuantized', ['flat', 'nowhere'], { bits: attr.int(4) }, undefined],
    ['GroupQueryAttention', ['x', 'y', 'y'], heads, INPUTS.x],
    // 4 heads of queries beside 2 of keys and 2 of values: half of 48.
    ['GroupQueryAttention', ['packed', '', ''], heads, ['b', 's', 24]],
    ['GroupQueryAttention', ['packed', '', ''], { num_heads: attr.int(4) }, undefined],
    ['Reshape', ['x', 'target'], {}, ['b', undefined, 7]],
    ['Reshape', ['x', 'floats'], {}, undefined],
    ['Reshape', ['x', 'ids'], {}, undefined],
    ['Slice', ['x', 'first', 'first', 'last'], {}, ['b', 's', undefined]],
    ['Slice', ['x', 'first', 'first', 'first'], {}, [undefined, 's', 12]],
    ['Slice', ['x', 'first', 'first'], {}, undefined],
    ['Pad', ['x', 'pads'], {}, ['b', undefined, undefined]],
    ['Pad', ['x', 'ids'], {}, undefined],
    ['Constant', [], { value: attr.tensor(float32Tensor([1, 2, 3])) }, [3]],
    ['Constant', [], { value_float: attr.float(1) }, undefined],
    ['OurFFN', ['x', 'weight'], {}, INPUTS.x],
    ['Unheard', ['x'], {}, undefined],
  ])('of %s of %j with %j', (opType, inputs, attributes, wanted) => {
    expect(shapeOf(opType, inputs, attributes)).toEqual(wanted);
  });

  it('says nothing of further outputs of attention and of operators of ours', () => {
    expect(shapeOf('GroupQueryAttention', ['x', 'y', 'y'], heads, 1)).toBeUndefined();
    expect(shapeOf('OurFFN', ['x'], {}, 1)).toBeUndefined();
  });
});

describe('sameShape', () => {
  it.each<[Shape | undefined, Shape | undefined, boolean]>([
    [['b', 3], ['b', 3], true],
    [[], [], true],
    [['b', 3], ['b', 4], false],
    [['b', 3], ['b', 3, 1], false],
    [['b', undefined], ['b', undefined], false],
    [undefined, ['b'], false],
    [['b'], undefined, false],
    [undefined, undefined, false],
  ])('of %j and %j is %s', (a, b, same) => {
    expect(sameShape(a, b)).toBe(same);
  });
});
