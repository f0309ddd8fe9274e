/** JSON as a tree that can hold what JavaScript's objects cannot: a key twice, numbers without limit, any depth. */
import type { Random } from '../harness/random.ts';
import { NUMBERS, PATTERNS, STRINGS, TEMPLATES } from './hostile-values.ts';

type Tree =
  /** A value without children, as it is written. */
  | { kind: 'leaf'; text: string }
  /** Keys of an array's entries mean nothing. */
  | { kind: 'array' | 'object'; entries: [key: string, value: Tree][] };

/** `text` changed in one place; undefined if it is not JSON, or an earlier change nested it too deep. */
export function mutateJson(text: string, random: Random): string | undefined {
  try {
    return mutated(toTree(JSON.parse(text)), random);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return undefined;
    throw error;
  }
}

function mutated(tree: Tree, random: Random): string {
  const programs = programsIn(tree);
  // Rare, because an endless one costs seconds until it is stopped.
  if (programs.length > 0 && random.chance(0.05)) {
    const { set, key } = random.pick(programs);
    set(leaf(JSON.stringify(random.pick(key === 'chat_template' ? TEMPLATES : PATTERNS))));
    return toText(tree);
  }
  const place = choosePlace(tree, random);
  place.set(changed(place.get(), tree, random));
  return toText(place.key === undefined ? place.get() : tree);
}

function toTree(value: unknown): Tree {
  if (typeof value !== 'object' || value === null) return leaf(JSON.stringify(value));
  const entries = Object.entries(value).map(([key, child]): [string, Tree] => [key, toTree(child)]);
  return { kind: Array.isArray(value) ? 'array' : 'object', entries };
}

function toText(tree: Tree): string {
  if (tree.kind === 'leaf') return tree.text;
  if (tree.kind === 'array') return `[${tree.entries.map(([, value]) => toText(value)).join(',')}]`;
  return `{${tree.entries.map(([key, value]) => `${JSON.stringify(key)}:${toText(value)}`).join(',')}}`;
}

function leaf(text: string): Tree {
  return { kind: 'leaf', text };
}

interface Place {
  /** Undefined at the root. */
  readonly key: string | undefined;
  get(): Tree;
  set(tree: Tree): void;
}

/** A walk from the root, which may end anywhere. So deep values in a large list are not more likely than others. */
function choosePlace(tree: Tree, random: Random): Place {
  let root = tree;
  let place: Place = {
    key: undefined,
    get: () => root,
    set: (next) => {
      root = next;
    },
  };
  while (!random.chance(place.key === undefined ? 0.03 : 0.3)) {
    const parent = place.get();
    if (parent.kind === 'leaf' || parent.entries.length === 0) break;
    place = placeOf(random.pick(parent.entries));
  }
  return place;
}

function placeOf(entry: [key: string, value: Tree]): Place {
  return { key: entry[0], get: () => entry[1], set: (next) => (entry[1] = next) };
}

/** Where a file holds a program: a chat template or a regular expression. A random walk would reach them too rarely. */
function programsIn(tree: Tree): Place[] {
  if (tree.kind === 'leaf') return [];
  return tree.entries.flatMap((entry) =>
    ['chat_template', 'Regex'].includes(entry[0]) ? [placeOf(entry)] : programsIn(entry[1]),
  );
}

function changed(tree: Tree, root: Tree, random: Random): Tree {
  if (tree.kind !== 'leaf' && random.chance(0.5)) return changedParts(tree, root, random);
  const changes: readonly (() => Tree)[] = [
    () => leaf(random.pick(NUMBERS)),
    () => leaf(random.pick(NUMBERS)),
    () => nearNumber(tree, random),
    () => nearNumber(tree, random),
    () => leaf(JSON.stringify(random.pick(STRINGS))),
    () => leaf(random.pick(['null', 'true', 'false', '[]', '{}', '[[]]', '[null]', '{"__proto__":null}'])),
    () => leaf(JSON.stringify('x'.repeat(10 ** (2 + random.int(5))))),
    () => choosePlace(root, random).get(),
    () => deep(random),
    () => ({ kind: 'array', entries: Array.from({ length: random.int(5) }, () => ['', tree]) }),
  ];
  // Depth and length, which only limits stop, are rarer than values that reach further.
  return random.chance(0.97) ? random.pick(changes.slice(0, 6))() : random.pick(changes)();
}

function nearNumber(tree: Tree, random: Random): Tree {
  const value = tree.kind === 'leaf' ? Number(tree.text) : Number.NaN;
  if (Number.isNaN(value)) return leaf(random.pick(NUMBERS));
  return leaf(String(random.pick([value + 1, value - 1, value * 2, -value, value / 2, value * 1e6, value + 0.5])));
}

function deep(random: Random): Tree {
  const depth = random.pick([20, 200, 2000, 20_000, 200_000]);
  return leaf(
    random.chance(0.5) ? '['.repeat(depth) + ']'.repeat(depth) : '{"a":'.repeat(depth) + 0 + '}'.repeat(depth),
  );
}

function changedParts(tree: Exclude<Tree, { kind: 'leaf' }>, root: Tree, random: Random): Tree {
  const other = choosePlace(root, random).get();
  const { entries } = tree;
  if (tree.kind === 'array') {
    const at = random.int(entries.length + 1);
    const changes: readonly (() => void)[] = [
      () => entries.splice(at, 1),
      () => entries.splice(at, 0, ['', other]),
      () => entries.splice(at, 0, ...entries.slice(at, at + 1 + random.int(4))),
      () => entries.reverse(),
      () => entries.splice(at),
    ];
    random.pick(changes)();
    return tree;
  }
  const at = random.int(entries.length);
  const key = entries[at]?.[0] ?? 'x';
  const changes: readonly (() => void)[] = [
    () => entries.splice(at, 1),
    () => entries.splice(at, 1),
    () => entries.splice(at, 0, [key, other]),
    () => entries.push([random.pick(STRINGS), other]),
    () => entries.splice(at, 1, [random.pick(STRINGS), entries[at]?.[1] ?? other]),
    () => entries.splice(0),
  ];
  random.pick(changes)();
  return tree;
}
