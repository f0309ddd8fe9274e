/**
 * An ONNX model as plain data: converters build it, passes rewrite it and formats write it. It mirrors the ONNX schema,
 * so nothing of a model read from disk is lost. But it holds its weights as `TensorExpr`s instead of bytes.
 */
import type { DType } from './dtype.ts';
import type { TensorExpr } from './tensor.ts';

/** A number, or the name of a symbolic dimension. */
export type Dim = number | string;

export interface ValueInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

export type Attribute =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly string[] }
  | { readonly kind: 'tensor'; readonly value: TensorExpr }
  | { readonly kind: 'graph'; readonly value: Body }
  /** Inside a function body: the value of the calling node's attribute `name`. */
  | { readonly kind: 'reference'; readonly name: string; readonly type: ReferenceType };

type ReferenceType = 'int' | 'float' | 'string' | 'ints' | 'floats';

export interface Node {
  /** Unique in its graph. Profiles show it. */
  readonly name: string;
  readonly opType: string;
  /** '' is ONNX's own domain. */
  readonly domain: string;
  /** '' stands for an optional input that is missing. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface Initializer {
  readonly name: string;
  readonly data: TensorExpr;
}

/** Nodes in an order in which each value is made before it is used. */
export interface Body {
  readonly name: string;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly initializers: readonly Initializer[];
  readonly nodes: readonly Node[];
}

/** A local function: the portable body of an operator, inlined by a runtime that has no kernel for it. */
export interface OpFunction {
  readonly domain: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names of the attributes that the body refers to or a kernel reads. */
  readonly attributes: readonly string[];
  readonly nodes: readonly Node[];
  readonly opsets: Readonly<Record<string, number>>;
  readonly doc?: string;
}

export interface Graph extends Body {
  /** Values that our operators make. ONNX Runtime cannot infer their shapes where it has the operators from a library. */
  readonly valueInfo?: readonly ValueInfo[];
  readonly functions: readonly OpFunction[];
  /** Domain to version. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The whole numbers of a node: what is known of it without its weights. */
export interface NodeNumbers {
  readonly domain: string;
  readonly opType: string;
  readonly name: string;
  /** Attributes that are whole numbers, rounded to the nearest number of JavaScript. */
  readonly ints: Readonly<Record<string, number>>;
  /** In a function: attributes whose values are those that its caller has, under another name perhaps. */
  readonly references: Readonly<Record<string, string>>;
}

export interface ModelNumbers {
  /** Those of bodies too, as of If. */
  readonly nodes: readonly NodeNumbers[];
  readonly functions: readonly {
    readonly domain: string;
    readonly name: string;
    readonly nodes: readonly NodeNumbers[];
  }[];
}

/** Values and weights that parts of a graph share have the same name in each. */
export function oneOfEachName<Named extends { readonly name: string }>(all: readonly Named[]): Named[] {
  return [...new Map(all.map((one) => [one.name, one])).values()];
}

/** The one form that every ONNX Runtime from 1.20 loads. */
export const IR_VERSION = 10;
export const OPSET = 21;
export const CONTRIB_DOMAIN = 'com.microsoft';
export const LACUNA_DOMAIN = 'lacuna';
export const BASE_OPSETS: Readonly<Record<string, number>> = { '': OPSET, [CONTRIB_DOMAIN]: 1 };

/** Helpers for attributes. The helper, never the value, decides between integer and float. */
export const attr = {
  int: (value: number): Attribute => ({ kind: 'int', value }),
  float: (value: number): Attribute => ({ kind: 'float', value }),
  string: (value: string): Attribute => ({ kind: 'string', value }),
  ints: (value: readonly number[]): Attribute => ({ kind: 'ints', value }),
  tensor: (value: TensorExpr): Attribute => ({ kind: 'tensor', value }),
  graph: (value: Body): Attribute => ({ kind: 'graph', value }),
  reference: (name: string, type: ReferenceType): Attribute => ({ kind: 'reference', name, type }),
} as const;
