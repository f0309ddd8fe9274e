/** Writes graphs the way one writes arithmetic: each call adds a node and returns the name of its value. */
import { type DType, ELEMENT_TYPES } from './dtype.ts';
import {
  type Attribute,
  attr,
  BASE_OPSETS,
  type Body,
  CONTRIB_DOMAIN,
  type Dim,
  type Graph,
  type Initializer,
  type Node,
  type OpFunction,
  type ValueInfo,
} from './graph.ts';
import { float32Tensor, int32Tensor, int64Tensor, type TensorExpr } from './tensor.ts';

export interface OpOptions {
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Names of the outputs. The default is one output, named after the scope and the operator. */
  readonly outputs?: readonly string[];
}

/**
 * Collects nodes and initializers. `scope` is the prefix of generated names, so builders of different layers or of
 * nested bodies never make the same name twice.
 *
 * @example
 * const g = new GraphBuilder('ffn');
 * const gate = g.op('MatMul', [x, g.initializer('gate.weight', weight)]);
 * const act = g.op('Mul', [gate, g.op('Sigmoid', [gate])], { outputs: ['layers.0.act'] });
 */
export class GraphBuilder {
  readonly scope: string;
  readonly nodes: Node[] = [];
  readonly initializers: Initializer[] = [];
  #counts = new Map<string, number>();

  constructor(scope: string) {
    this.scope = scope;
  }

  /** A name that this builder has not used before. */
  fresh(stem: string): string {
    const count = this.#counts.get(stem) ?? 0;
    this.#counts.set(stem, count + 1);
    const base = this.scope === '' ? stem : `${this.scope}.${stem}`;
    return count === 0 ? base : `${base}_${count}`;
  }

  /** Adds a node with one result and returns its name. */
  op(opType: string, inputs: readonly string[], options: OpOptions = {}): string {
    return this.ops(opType, inputs, { outputs: [this.fresh(opType)], ...options })[0];
  }

  /** Adds a node with several results and returns their names. '' leaves out an optional result. */
  ops(
    opType: string,
    inputs: readonly string[],
    options: OpOptions & { readonly outputs: readonly string[] },
  ): readonly string[] {
    const { domain = '', attributes = {}, outputs } = options;
    this.nodes.push({ name: this.fresh(`node.${opType}`), opType, domain, inputs, outputs, attributes });
    return outputs;
  }

  /** `op` in ONNX Runtime's contrib domain. */
  contrib(opType: string, inputs: readonly string[], options: Omit<OpOptions, 'domain'> = {}): string {
    return this.op(opType, inputs, { ...options, domain: CONTRIB_DOMAIN });
  }

  /** `x` as `dtype`. A runtime casts a weight once, when it loads it. */
  cast(x: string, dtype: DType, output = this.fresh('cast')): string {
    return this.op('Cast', [x], { attributes: { to: attr.int(ELEMENT_TYPES[dtype].code) }, outputs: [output] });
  }

  initializer(name: string, data: TensorExpr): string {
    this.initializers.push({ name, data });
    return name;
  }

  /** A constant as a `Constant` node. It also works inside function bodies, which hold no initializers. */
  constant(data: TensorExpr, stem = 'const'): string {
    return this.op('Constant', [], { attributes: { value: attr.tensor(data) }, outputs: [this.fresh(stem)] });
  }

  float(value: number): string {
    return this.constant(float32Tensor([value], []));
  }

  int64(...values: number[]): string {
    return this.constant(int64Tensor(values));
  }

  int64Scalar(value: number): string {
    return this.constant(int64Tensor([value], []));
  }

  int32Scalar(value: number): string {
    return this.constant(int32Tensor([value], []));
  }

  body(name: string, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Body {
    return { name, inputs, outputs, initializers: this.initializers, nodes: this.nodes };
  }

  /** All that was added, as a graph named after the scope. `functions` are the bodies of our operators. */
  graph(inputs: readonly ValueInfo[], outputs: readonly ValueInfo[], functions: readonly OpFunction[] = []): Graph {
    return { ...this.body(this.scope, inputs, outputs), functions, opsets: BASE_OPSETS, metadata: {} };
  }
}

export function value(name: string, dtype: DType, shape: readonly Dim[]): ValueInfo {
  return { name, dtype, shape };
}

/** Entries `from` to before `to` of the last axis of x, or of `axis`. */
export function entries(g: GraphBuilder, x: string, from: number, to: number, axis = -1): string {
  return g.op('Slice', [x, g.int64(from), g.int64(to), g.int64(axis)]);
}
