/**
 * Runs cases of `operators` in the native core: a call may succeed or be refused, and nothing else. Arguments: the
 * folder of the library, the seed, and those of `serve`.
 */
import { join } from 'node:path';
import { ELEMENT_TYPES } from '../../src/core/dtype.ts';
import type { ModelNumbers } from '../../src/core/graph.ts';
import { loadAddon, type NativeModel, type NativeValue, runtimeLibrary } from '../../src/runtime/native-addon.ts';
import { checkNumbers } from '../../src/runtime/node-limits.ts';
import { serve } from '../harness/serve.ts';
import { chooseCase, type Group, type OperatorCase } from './case.ts';
import { encodeNode, type HostileNode } from './hostile-node.ts';

/** Results are filled with this before they are written. As a float, no call gives this value. */
const UNWRITTEN = 0xa5;

const [folder, seed, ...range] = process.argv.slice(2);
const addon = loadAddon({ addon: join(folder, 'lacuna_node.node') });
const runtime = await runtimeLibrary();
/** The session of one group. */
let opened: { readonly group: number; readonly model: NativeModel } | undefined;

await serve(range, (index) => runCase(chooseCase(Number(seed), index)));

/** Why the case fails; undefined if it does not. */
async function runCase(one: OperatorCase): Promise<string | undefined> {
  const { group, node, changes, isOwn } = one;
  let own: NativeModel | undefined;
  try {
    checkNumbers(numbersOf(node), 'the node');
    if (isOwn) own = await openNode(node, group.threads);
    return await runTwice(own ?? (await modelOf(group)), one);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (changes.length === 0) return `a sound ${node.opType} was refused: ${message}`;
    return message === '' ? 'refused without a word' : undefined;
  } finally {
    await own?.dispose();
  }
}

async function modelOf({ index, node, threads }: Group): Promise<NativeModel> {
  if (opened?.group === index) return opened.model;
  await opened?.model.dispose();
  opened = undefined;
  opened = { group: index, model: await openNode(node, threads) };
  return opened.model;
}

/** What is looked at before a model is opened. */
function numbersOf({ domain, opType, attributes }: HostileNode): ModelNumbers {
  const ints = Object.entries(attributes).flatMap(([name, { kind, value }]) =>
    kind === 'int' ? [[name, Number(value)] as const] : [],
  );
  return { nodes: [{ domain, opType, name: 'node', ints: Object.fromEntries(ints), references: {} }], functions: [] };
}

function openNode(node: HostileNode, threads: number): Promise<NativeModel> {
  return addon.openModel({
    runtime,
    operators: join(folder, 'liblacuna_ort.so'),
    bytes: encodeNode(node),
    intraThreads: threads,
    logSeverity: 4,
    config: [
      // Outside of the arena, where a sanitizer sees the bounds of each tensor.
      ['session.use_device_allocator_for_initializers', '1'],
      // Threads that wait for the next call would take time from the next case.
      ['session.intra_op.allow_spinning', '0'],
    ],
  });
}

/** Once into ONNX Runtime's own memory, once into ours. All of it must be written, with the same values. */
async function runTwice(model: NativeModel, { node, changes, isInPlace }: OperatorCase): Promise<string | undefined> {
  const inputs = feedsOf(model, node);
  const names = model.outputs.map(({ name }) => name);
  const first = await model.run(
    inputs,
    names.map((name) => ({ name, value: null })),
  );
  const expected = first.map(bytesOf);
  const places = first.map((value, i) => placeOf(model, value, expected[i].length, isInPlace ? inputs : [], i));
  await model.run(
    inputs,
    names.map((name, i) => ({ name, value: places[i] })),
  );
  if (changes.length > 0 || isInPlace) return undefined;
  const differing = names.findIndex((_, i) => Buffer.compare(expected[i], bytesOf(places[i])) !== 0);
  return differing < 0 ? undefined : `two calls of a sound ${node.opType} differ in ${names[differing]}`;
}

interface Feed {
  readonly name: string;
  readonly value: NativeValue;
}

function feedsOf(model: NativeModel, { inputs }: HostileNode): Feed[] {
  const wanted = new Set(model.inputs.map(({ name }) => name));
  return inputs.flatMap(({ name, tensor }) => {
    if (tensor === undefined || !wanted.delete(name)) return [];
    return [{ name, value: model.createValue(ELEMENT_TYPES[tensor.type].code, tensor.dims, tensor.bytes) }];
  });
}

/** The target of a result: an input of the same size, as caches are written over their past, or other memory. */
function placeOf(
  model: NativeModel,
  { type, dims }: NativeValue,
  bytes: number,
  inputs: readonly Feed[],
  at: number,
): NativeValue {
  const same = inputs.filter(({ value }) => value.type === type && String(value.dims) === String(dims));
  // Results of attention are y, keys and values. Pasts are keys and values.
  if (same.length > 0) return same[Math.min(Math.max(0, at - 1), same.length - 1)].value;
  return model.createValue(type, dims, new Uint8Array(bytes).fill(UNWRITTEN));
}

function bytesOf(value: NativeValue): Uint8Array {
  return new Uint8Array(value.buffer());
}
