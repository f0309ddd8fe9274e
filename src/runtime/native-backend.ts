/** The native core as a backend of onnxruntime-common: any model, for code that knows nothing of Lacuna. */
import { readFile } from 'node:fs/promises';
import type { Backend, InferenceSession, InferenceSessionHandler, Tensor } from 'onnxruntime-node';
import { invalidArgument, LacunaError } from '../core/errors.ts';
import {
  loadAddon,
  type NativeFiles,
  type NativeModel,
  type NativeModelOptions,
  type NativePort,
  type NativeValue,
  runtimeLibrary,
} from './native-addon.ts';
import { type CacheMemory, NativeTensors, type TensorClass, typeName } from './native-tensors.ts';

type SessionOptions = InferenceSession.SessionOptions;
type Feeds = Readonly<Record<string, Tensor>>;
type Fetches = Readonly<Record<string, Tensor | null>>;

/** A graph's cache: an input that attention appends to, and the output that is the result. */
export interface CachePorts {
  readonly past: string;
  readonly present: string;
}

export interface BackendOptions {
  /** The onnxruntime-common of its users. */
  readonly tensors: TensorClass;
  /** Throws if there is no native core. */
  readonly files: () => Promise<NativeFiles>;
  /** Caches that attention may append to in place, because their lengths are sums of `attention_mask`. */
  readonly findCaches: (model: string) => Promise<readonly CachePorts[]>;
}

/** A backend for `registerBackend`. */
export function createBackend({ tensors, files, findCaches }: BackendOptions): Backend {
  return {
    init: async () => void (await files()),
    async createInferenceSessionHandler(uriOrBuffer, options = {}) {
      const native = await files();
      const request = await requestOf(uriOrBuffer, options);
      const runtime = await runtimeLibrary();
      const model = await loadAddon(native).openModel({ ...request, runtime, operators: native.operators });
      const caches = typeof uriOrBuffer === 'string' ? await findCaches(uriOrBuffer) : [];
      return handlerOf({ model, tensors: new NativeTensors(tensors, model), caches });
    },
  };
}

/** GraphOptimizationLevel of ONNX Runtime's C interface, by the names of session options. */
const OPTIMISATION = { disabled: 0, basic: 1, extended: 2, layout: 3, all: 99 } as const;

type ModelRequest = Omit<NativeModelOptions, 'runtime' | 'operators'>;

async function requestOf(model: string | Uint8Array, options: SessionOptions): Promise<ModelRequest> {
  const { graphOptimizationLevel = 'all' } = options;
  const optimisation = (OPTIMISATION as Readonly<Record<string, number | undefined>>)[graphOptimizationLevel];
  if (optimisation === undefined)
    throw invalidArgument('graphOptimizationLevel', Object.keys(OPTIMISATION).join(', '), graphOptimizationLevel);
  return {
    ...(typeof model === 'string' ? { path: model } : { bytes: model }),
    externalData: await externalDataOf(model, options),
    intraThreads: options.intraOpNumThreads,
    interThreads: options.interOpNumThreads,
    optimisation,
    isParallel: options.executionMode === 'parallel',
    logSeverity: options.logSeverityLevel,
    freeDimensions: Object.entries(options.freeDimensionOverrides ?? {}),
    config: configOf(options),
  };
}

/** Entries of `extra.session` by their dotted names. */
function configOf({ extra }: SessionOptions): readonly (readonly [string, string])[] {
  const config = flatten(extra?.session ?? {}, 'session');
  // ONNX Runtime would continue to read bytes that belong to JavaScript.
  const kept = config.find(([name]) => /use_ort_model_bytes/.test(name));
  if (kept !== undefined)
    throw new LacunaError('unsupported', `The native core does not keep a model's bytes: ${kept[0]}`, {
      hint: 'Leave the option out, or give the path of the model.',
    });
  return config;
}

async function externalDataOf(
  model: string | Uint8Array,
  { externalData = [] }: SessionOptions,
): Promise<(readonly [string, Uint8Array])[]> {
  const hasBytes = externalData.some(
    (file) => typeof file === 'object' && 'data' in file && typeof file.data !== 'string',
  );
  // ONNX Runtime itself finds files beside a model.
  if (typeof model === 'string' && !hasBytes) return [];
  return Promise.all(
    externalData.map(async (file) => {
      const { path, data } =
        typeof file === 'object' && 'data' in file ? file : { path: String(file), data: String(file) };
      if (data instanceof Uint8Array) return [path, data] as const;
      if (typeof data === 'string') return [path, await readFile(data)] as const;
      throw new LacunaError('unsupported', `External data of ${path} must be a Uint8Array or the path of a file`);
    }),
  );
}

/** { a: { b: 1 } } as session.a.b, as onnxruntime-node reads entries of the session's configuration. */
function flatten(entries: object, prefix: string): (readonly [string, string])[] {
  return Object.entries(entries).flatMap(([key, value]) =>
    typeof value === 'object' && value !== null
      ? flatten(value, `${prefix}.${key}`)
      : [[`${prefix}.${key}`, String(value)] as const],
  );
}

interface Opened {
  readonly model: NativeModel;
  readonly tensors: NativeTensors;
  readonly caches: readonly CachePorts[];
}

function handlerOf(opened: Opened): InferenceSessionHandler {
  const { inputs, outputs } = opened.model;
  // One run after the other, as in onnxruntime-node. Each run sees the caches that the run before it made.
  let last: Promise<unknown> = Promise.resolve();
  return {
    inputNames: inputs.map(({ name }) => name),
    outputNames: outputs.map(({ name }) => name),
    inputMetadata: inputs.map(metadataOf),
    outputMetadata: outputs.map(metadataOf),
    startProfiling() {},
    endProfiling() {},
    run(feeds, fetches) {
      const result = last.then(() => run(opened, feeds, fetches));
      last = result.catch(() => {});
      return result;
    },
    dispose: () => opened.model.dispose(),
  };
}

function metadataOf({ name, isTensor, type, shape }: NativePort): InferenceSession.ValueMetadata {
  return isTensor ? { name, isTensor, type: typeName(type), shape } : { name, isTensor };
}

async function run(opened: Opened, feeds: Feeds, fetches: Fetches): Promise<Record<string, Tensor>> {
  const { model, tensors, caches } = opened;
  const memory = memoryFor(opened, feeds, fetches);
  const shared = new Map(
    memory?.values.flatMap((value, index) => {
      const { past, present } = caches[index];
      return [past, present].map((name) => [name, { value, index }]);
    }),
  );
  const inputs = Object.entries(feeds).map(([name, tensor]) => {
    return { name, value: shared.get(name)?.value ?? tensors.valueOf(tensor) };
  });
  const outputs = Object.keys(fetches).map((name) => ({ name, value: shared.get(name)?.value ?? null }));
  const values = await model.run(inputs, outputs);
  if (memory) memory.length = tokensOf(feeds).total;
  const results = outputs.map(({ name }, i): [string, Tensor] => {
    const place = shared.get(name);
    if (memory && place) return [name, tensors.wrapView({ memory, index: place.index, length: memory.length })];
    return [name, written(fetches[name], values[i], tensors)];
  });
  return Object.fromEntries(results);
}

/** The result in the tensor that was given for it, or in a new one. */
function written(given: Tensor | null, value: NativeValue, tensors: NativeTensors): Tensor {
  const made = tensors.wrap(value);
  if (given === null) return made;
  const [target, source] = [given.data, made.data] as [Float32Array, Float32Array];
  if (given.type !== made.type || target.length !== source.length)
    throw new LacunaError(
      'mismatch',
      `Expected a tensor of ${made.type} [${made.dims}] to write to but received ${given.type} [${given.dims}]`,
    );
  target.set(source);
  return given;
}

/** Rows, the new tokens of each, and these with the earlier ones. */
function tokensOf({ input_ids: ids, attention_mask: mask }: Feeds) {
  return { rows: ids.dims[0], fed: ids.dims[1], total: mask.dims[1] };
}

/** The capacity of caches at first, in tokens. It doubles when it is used up. */
const LEAST_CAPACITY = 256;

/**
 * The tensors for a run's caches, filled with those of `feeds` and with room for new tokens; undefined if the run
 * cannot append in place. Continuing a cache that was already continued makes a copy, so that both stay valid.
 */
function memoryFor({ model, tensors, caches }: Opened, feeds: Feeds, fetches: Fetches): CacheMemory | undefined {
  if (caches.length === 0 || !caches.every(({ present }) => fetches[present] === null)) return undefined;
  const pasts = caches.map(({ past }) => feeds[past]);
  if (!arePlain(pasts, feeds)) return undefined;
  const { rows, fed, total } = tokensOf(feeds);
  const length = total - fed;
  const views = pasts.map((past) => tensors.viewOf(past));
  const memory = views[0]?.memory;
  const isOne = memory !== undefined && views.every((view, i) => view?.memory === memory && view.index === i);
  if (isOne && memory.length === length && memory.capacity >= total) return memory;
  const capacity = Math.max(total, LEAST_CAPACITY, isOne ? 2 * memory.capacity : 0);
  const values = pasts.map((past, i) => {
    const from = isOne ? memory.values[i] : tensors.valueOf(past);
    const [, heads, , width] = past.dims;
    const value = model.createValue(from.type, [rows, heads, capacity, width]);
    if (length > 0) value.copyTokens(from, length);
    return value;
  });
  return { values, rows, capacity, length };
}

/**
 * Whether all rows have the same number of tokens, none masked, and this number is that of the caches and the new
 * tokens together. Only then do the lengths that attention takes from the mask agree with the shapes of the caches.
 * Attention takes several tokens with a past in one row only.
 */
function arePlain(pasts: readonly Tensor[], { input_ids: ids, attention_mask: mask }: Feeds): boolean {
  if (ids?.dims.length !== 2 || mask?.dims.length !== 2 || mask.type !== 'int64') return false;
  const [rows, fed] = ids.dims;
  const length = mask.dims[1] - fed;
  const [, , past] = pasts[0].dims;
  const areAlike = pasts.every(({ dims }) => dims.length === 4 && dims[0] === rows && dims[2] === length);
  if (!areAlike || past !== length || mask.dims[0] !== rows || !(rows === 1 || fed === 1 || length === 0)) return false;
  return (mask.data as BigInt64Array).every((seen) => seen === 1n);
}
