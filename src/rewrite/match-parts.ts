/** Finds the parts of a decoder whose weights are in blocks: a norm of the residual stream and the products that read it. */
import { type Attribute, attr, CONTRIB_DOMAIN, type Node } from '../core/graph.ts';
import type { Activation, OperatorName } from '../ops/index.ts';
import { blockScales } from './block-scales.ts';
import type { GraphIndex } from './graph-index.ts';
import type { Lifted } from './lift.ts';

export interface PartMatch {
  readonly kind: 'match';
  readonly operator: OperatorName;
  readonly lifted: Lifted;
  /** Attributes of the node that takes the nodes' place. */
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface PartRefusal {
  readonly kind: 'refused';
  readonly reason: string;
}

/** Thrown and caught within this file: the first thing that does not fit ends the search. */
class Mismatch extends Error {}

/**
 * Each function tries to match around one node, and refuses where an operator or a shape is another one, where weights have
 * blocks of another size than 32, and where a value in between is read from outside.
 */
function attempt(match: () => PartMatch): PartMatch | PartRefusal {
  try {
    return match();
  } catch (error) {
    if (error instanceof Mismatch) return { kind: 'refused', reason: error.message };
    throw error;
  }
}

/**
 *     n [, sum] = norm(x [+ skip])
 *     q, k, v   = n W^T [+ bias], at once or each on its own; heads of q and k normed where they are
 *     attended  = GroupQueryAttention(q, k, v, caches, lengths, tables)
 *     y         = attended W^T [+ bias], normed where it is
 */
export function matchAttention(index: GraphIndex, attention: Node): PartMatch | PartRefusal {
  return attempt(() => {
    const part = new Part(index);
    const [query, key, value, pastKey, pastValue, seqlens, total, cosines, sines, ...more] = attention.inputs;
    expect(more.length === 0 && cosines !== undefined && sines !== undefined, 'GroupQueryAttention has other inputs');
    const { do_rotary, rotary_interleaved, scale, ...others } = attention.attributes;
    expect(do_rotary?.kind === 'int' && do_rotary.value === 1, 'GroupQueryAttention turns no positions');
    const isSplit =
      rotary_interleaved === undefined || (rotary_interleaved.kind === 'int' && rotary_interleaved.value === 0);
    expect(isSplit, 'GroupQueryAttention turns neighbours, not halves');
    expect(scale !== undefined, 'GroupQueryAttention has no scale');
    const other = Object.keys(others).find((name) => !ATTENTION_ATTRIBUTES.includes(name));
    expect(other === undefined, `GroupQueryAttention has the attribute ${other}`);
    const q = part.projection(query, 'query');
    const k = key === '' ? undefined : part.projection(key, 'key');
    const v = value === '' ? undefined : part.projection(value, 'value');
    part.streamNorm(q.input);
    for (const { input } of [k, v].filter((one) => one !== undefined))
      expect(input === q.input, `products of ${q.input} and of ${input} are attended to`);
    part.take(attention);
    const y = part.postNorm(part.productOf(attention.outputs[0], 'output'));
    const width = part.headSize(attention, pastKey);
    expect(width !== undefined && width % 16 === 0 && width <= 512, `heads are ${width} wide`);
    const { num_heads, kv_num_heads, softcap, local_window_size } = others;
    const places = (name: string) => (name in attention.attributes ? { [name]: [[attention, name] as const] } : {});
    return part.match('NormAttention', {
      inputs: {
        past_key: pastKey,
        past_value: pastValue,
        seqlens_k: seqlens,
        total_sequence_length: total,
        cosines,
        sines,
      },
      outputs: { y, present_key: attention.outputs[1], present_value: attention.outputs[2] },
      attributes: {
        num_heads,
        kv_num_heads,
        scale,
        softcap: softcap ?? attr.float(0),
        local_window_size: local_window_size ?? attr.int(-1),
      },
      places: Object.assign({}, ...ATTENTION_ATTRIBUTES.map(places)),
    });
  });
}

const ATTENTION_ATTRIBUTES = ['num_heads', 'kv_num_heads', 'scale', 'softcap', 'local_window_size'];

/**
 *     n, sum = norm(x + skip)
 *     y      = (act(n gate^T) * n up^T) down^T, normed where it is; each product may have a bias
 */
export function matchNormFfn(index: GraphIndex, multiply: Node): PartMatch | PartRefusal {
  return attempt(() => {
    const part = new Part(index);
    const acts = multiply.inputs.map((input) => activationOf(index, input));
    const place = acts.findIndex((act) => act !== undefined);
    const act = acts[place];
    expect(act !== undefined, 'no activation is multiplied');
    const gate = part.product(part.maker(act.of), 'gate');
    const up = part.product(part.maker(multiply.inputs[1 - place]), 'up');
    expect(gate.input === up.input, `products of ${gate.input} and of ${up.input} are multiplied`);
    const { skip } = part.streamNorm(gate.input);
    expect(skip !== undefined, 'nothing is added before the norm');
    part.take(...act.nodes, multiply);
    const y = part.postNorm(part.productOf(multiply.outputs[0], 'down'));
    const attributes = { activation: attr.string(act.activation), measure: attr.string('none') };
    return part.match('GatedFFN', { outputs: { y }, attributes });
  });
}

/**
 *     n = norm(x + skip)
 *     y = n weight^T, softly capped where it is
 */
export function matchNormProduct(index: GraphIndex, product: Node): PartMatch | PartRefusal {
  return attempt(() => {
    const part = new Part(index);
    const { input, output } = part.product(product, 'weight');
    const { skip, sum } = part.streamNorm(input);
    expect(skip !== undefined, 'nothing is added before the norm');
    expect(sum === undefined, `${sum} is read by others`);
    const { y, softcap, places } = part.softCap(output);
    return part.match('NormProduct', { outputs: { y }, attributes: { softcap }, places });
  });
}

interface FoundActivation {
  readonly activation: Activation;
  readonly of: string;
  readonly nodes: readonly Node[];
}

/** The activation that makes `value`, if one does. */
function activationOf(index: GraphIndex, value: string): FoundActivation | undefined {
  const node = index.producer(value);
  if (node === undefined) return undefined;
  const { alpha, approximate } = node.attributes;
  const found = (activation: Activation, of = node.inputs[0], ...nodes: Node[]) => ({
    activation,
    of,
    nodes: [...nodes, node],
  });
  switch (node.opType) {
    case 'Mul': {
      const sigmoid = node.inputs.map(index.producer).find((one) => one?.opType === 'Sigmoid');
      const isSilu = sigmoid !== undefined && node.inputs.includes(sigmoid.inputs[0]);
      return isSilu ? found('silu', sigmoid.inputs[0], sigmoid) : undefined;
    }
    case 'QuickGelu':
      return alpha?.kind === 'float' && alpha.value === 1 ? found('silu') : undefined;
    case 'Gelu':
      return found(approximate?.kind === 'string' && approximate.value === 'tanh' ? 'gelu_tanh' : 'gelu');
    case 'Relu':
      return found('relu');
    default:
      return undefined;
  }
}

function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Mismatch(otherwise);
}

interface Found {
  readonly inputs?: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly places?: Lifted['attributes'];
}

/** What has been found of a part so far. */
class Part {
  readonly #index: GraphIndex;
  readonly #nodes = new Set<Node>();
  readonly #inputs: Record<string, string> = {};
  readonly #outputs: Record<string, string> = {};
  readonly #attributes: Record<string, Attribute> = {};
  readonly #places: Record<string, (readonly [Node, string])[]> = {};
  readonly #bits = new Set<number>();

  constructor(index: GraphIndex) {
    this.#index = index;
  }

  take(...nodes: readonly Node[]): void {
    for (const node of nodes) this.#nodes.add(node);
  }

  maker(value: string): Node {
    const node = this.#index.producer(value);
    expect(node !== undefined, `no node makes ${value}`);
    return node;
  }

  onlyReader(value: string): Node {
    const [reader, ...others] = this.#index.consumers(value);
    expect(
      reader !== undefined && others.length === 0 && !this.#index.isOutput(value),
      `${value} is not read by one node`,
    );
    return reader;
  }

  /** A MatMulNBits by a weight that becomes input `role`, or that and the bias that is added to it. */
  product(node: Node, role: string): { readonly input: string; readonly output: string } {
    const addend = node.opType === 'Add' ? this.#bias(node) : undefined;
    if (addend === undefined) return this.#multiply(node, role);
    this.take(node);
    const { input, rows } = this.#multiply(this.maker(addend.to), role);
    expect(addend.size === rows, `${addend.bias} is no bias of ${rows} rows`);
    this.#inputs[`${role}_bias`] = addend.bias;
    return { input, output: node.outputs[0] };
  }

  /** What is made of `value` alone by such a product. */
  productOf(value: string, role: string): string {
    const multiply = this.onlyReader(value);
    const [reader, ...others] = this.#index.consumers(multiply.outputs[0]);
    const isBiased = reader?.opType === 'Add' && others.length === 0 && this.#bias(reader) !== undefined;
    return this.product(isBiased ? reader : multiply, role).output;
  }

  /** A product whose result's heads may be normed, each by itself: Reshape, norm, Reshape. */
  projection(value: string, role: string): { readonly input: string } {
    const last = this.maker(value);
    if (last.opType !== 'Reshape') return this.product(last, role);
    const norm = this.maker(last.inputs[0]);
    expect(isRmsNorm(norm), `${norm.opType} is reshaped into ${value}`);
    const first = this.maker(norm.inputs[0]);
    expect(first.opType === 'Reshape', `${first.opType} makes what is normed into ${value}`);
    this.take(first, norm, last, this.#shape(first), this.#shape(last));
    this.#norm(norm, `${role}_norm`, norm.inputs[1], 'head_epsilon');
    return this.product(this.maker(first.inputs[0]), role);
  }

  /** The norm of the residual stream that makes `value`. */
  streamNorm(value: string): { readonly skip?: string; readonly sum?: string } {
    const node = this.maker(value);
    this.take(node);
    this.#inputs.x = node.inputs[0];
    if (isRmsNorm(node)) {
      this.#norm(node, 'norm', node.inputs[1], 'epsilon');
      return {};
    }
    const isSkip = node.opType === 'SkipSimplifiedLayerNormalization' && node.inputs.length === 3;
    expect(isSkip, `${node.opType} makes ${value}, wanted a norm`);
    this.#inputs.skip = node.inputs[1];
    this.#norm(node, 'norm', node.inputs[2], 'epsilon');
    const sum = node.outputs[3] ?? '';
    const isRead = sum !== '' && (this.#index.consumers(sum).length > 0 || this.#index.isOutput(sum));
    if (!isRead) return { skip: node.inputs[1] };
    this.#outputs.sum = sum;
    return { skip: node.inputs[1], sum };
  }

  /** What a norm makes of `value`, where it is normed before it is added to anything; else `value`. */
  postNorm(value: string): string {
    const [reader, ...others] = this.#index.consumers(value);
    if (reader === undefined || others.length > 0 || !isRmsNorm(reader) || this.#index.isOutput(value)) return value;
    this.take(reader);
    this.#norm(reader, 'post_norm', reader.inputs[1], 'post_epsilon');
    return reader.outputs[0];
  }

  /** c tanh(value / c), where that is all that is made of `value`; else `value`, and a cap of 0. */
  softCap(value: string): { readonly y: string; readonly softcap: Attribute; readonly places: Lifted['attributes'] } {
    const none = { y: value, softcap: attr.float(0), places: {} };
    const readers = (name: string) => (this.#index.isOutput(name) ? [] : this.#index.consumers(name));
    const [divide, ...others] = readers(value);
    if (divide?.opType !== 'Div' || others.length > 0 || divide.inputs[0] !== value) return none;
    const [bend, multiply] = [readers(divide.outputs[0]), readers(readers(divide.outputs[0])[0]?.outputs[0] ?? '')];
    const cap = this.#index.producer(divide.inputs[1]);
    const constant = cap?.opType === 'Constant' ? cap.attributes.value_float : undefined;
    const isCap =
      bend.length === 1 &&
      bend[0].opType === 'Tanh' &&
      multiply.length === 1 &&
      multiply[0].opType === 'Mul' &&
      multiply[0].inputs.includes(divide.inputs[1]);
    if (!isCap || cap === undefined || constant === undefined) return none;
    this.take(cap, divide, bend[0], multiply[0]);
    return { y: multiply[0].outputs[0], softcap: constant, places: { softcap: [[cap, 'value_float']] } };
  }

  headSize(attention: Node, past: string): number | undefined {
    const info = this.#index.graph.inputs.find(({ name }) => name === past);
    expect(attention.opType === 'GroupQueryAttention' && info?.dtype === 'float32', `${past} is no float32 cache`);
    const width = info.shape[3];
    return typeof width === 'number' ? width : undefined;
  }

  match(operator: OperatorName, { inputs, outputs, attributes, places }: Found): PartMatch {
    const [bits, ...others] = this.#bits;
    expect(others.length === 0, `weights have ${[...this.#bits].join(' and ')} bits`);
    const all = { ...this.#outputs, ...outputs };
    const own = new Set(Object.values(all));
    for (const value of [...this.#nodes].flatMap((node) => node.outputs)) {
      if (value === '' || own.has(value)) continue;
      const reader = this.#index.consumers(value).find((node) => !this.#nodes.has(node));
      expect(
        reader === undefined && !this.#index.isOutput(value),
        `${value} is read by ${reader?.name ?? 'the caller'} too`,
      );
    }
    return {
      kind: 'match',
      operator,
      attributes: { ...this.#attributes, ...attributes, storage: attr.string(`int${bits}`) },
      lifted: {
        nodes: this.#index.graph.nodes.filter((node) => this.#nodes.has(node)),
        inputs: { ...this.#inputs, ...inputs },
        outputs: all,
        attributes: { ...this.#places, ...places },
      },
    };
  }

  #multiply(node: Node, role: string): { readonly input: string; readonly output: string; readonly rows?: number } {
    expect(
      node.opType === 'MatMulNBits' && node.domain === CONTRIB_DOMAIN,
      `${node.opType} where a product was wanted`,
    );
    const [input, codes, scales, zeroPoints = '', ...more] = node.inputs;
    expect(
      more.every((name) => name === ''),
      `${codes} has other inputs than scales and zero points`,
    );
    const { block_size, bits } = node.attributes;
    expect(block_size?.kind === 'int' && block_size.value === 32, `${codes} has blocks of another size than 32`);
    expect(bits?.kind === 'int' && (bits.value === 4 || bits.value === 8), `${codes} has other bits than 4 or 8`);
    expect(this.#index.initializers.has(codes), `${codes} is computed`);
    const found = blockScales(this.#index, scales);
    if (found.kind === 'refused') throw new Mismatch(found.reason);
    this.#bits.add(bits.value);
    this.take(found.widened, node);
    this.#inputs[role] = codes;
    this.#inputs[`${role}_scales`] = found.tensor.name;
    if (zeroPoints !== '') {
      expect(
        this.#index.initializers.get(zeroPoints)?.data.dtype === 'uint8',
        `${zeroPoints} is no uint8 tensor of the model`,
      );
      this.#inputs[`${role}_zero_points`] = zeroPoints;
    }
    return { input, output: node.outputs[0], rows: this.#index.initializers.get(codes)?.data.shape[0] };
  }

  /** The row of the model's that an Add adds, and what to. */
  #bias({ inputs }: Node): { readonly bias: string; readonly size: number; readonly to: string } | undefined {
    const tensors = inputs.map((name) => this.#index.initializers.get(name)?.data);
    const place = tensors.findIndex((data) => data?.dtype === 'float32' && data.shape.length === 1);
    const data = tensors[place];
    return data && { bias: inputs[place], size: data.shape[0], to: inputs[1 - place] };
  }

  #norm(node: Node, role: string, weight: string, epsilon: string): void {
    const { initializers } = this.#index;
    expect(initializers.get(weight)?.data.dtype === 'float32', `${weight} is no float32 tensor of the model`);
    const given = node.attributes.epsilon;
    expect(given !== undefined, `${node.name} has no epsilon`);
    const before = this.#attributes[epsilon];
    expect(before === undefined || JSON.stringify(before) === JSON.stringify(given), `norms have several epsilons`);
    this.#inputs[role] = weight;
    this.#attributes[epsilon] = given;
    this.#places[epsilon] = [...(this.#places[epsilon] ?? []), [node, 'epsilon']];
  }

  #shape(reshape: Node): Node {
    const shape = this.maker(reshape.inputs[1]);
    expect(shape.opType === 'Constant', `${reshape.inputs[1]} is computed`);
    return shape;
  }
}

function isRmsNorm({ opType, attributes: { axis }, outputs }: Node): boolean {
  const last = axis === undefined || (axis.kind === 'int' && axis.value === -1);
  return opType === 'SimplifiedLayerNormalization' && last && outputs.length === 1;
}
