/** What the wizard knows at a moment: the answers so far, what was found out for them, and why one was refused. Plain data. */
import type { BuildComparison, PlanOptions, Problem, SparsePrecision } from '../index.ts';

/** What to make: the fastest dense model within a budget, or a sparse one by a preset. */
export const AUTO = 'auto';
export type Goal = typeof AUTO | PlanOptions['preset'];

/** Whether a sparse model is to be made. */
export function isSparse({ goal }: Answers): boolean {
  return goal !== undefined && goal !== AUTO;
}

/** Each is absent until it is answered. Flags of `lacuna wizard` say all but those of what to ask next, and `unsaidIn`. */
export interface Answers {
  readonly checkpoint?: string;
  readonly adapter?: string;
  readonly goal?: Goal;
  readonly host?: 'native' | 'stock';
  /** How a sparse model stores its weights. */
  readonly dtype?: SparsePrecision;
  readonly fit?: readonly string[];
  readonly choose?: readonly string[];
  readonly test?: readonly string[];
  readonly tokens?: number;
  readonly threads?: number;
  /** "" where a sparse model may lose whatever it loses. */
  readonly budget?: string;
  readonly output?: string;
  readonly force?: boolean;
  readonly work?: string;
  readonly target?: number;
  readonly measure?: string;
  readonly denseLayers?: readonly number[];
  readonly coldStart?: number;
  readonly coldEnd?: number;
  readonly allowSlower?: boolean;

  /** Whether texts of the user's own are wanted. */
  readonly texts?: 'package' | 'own';
  /** Whether to fetch what is on the Hub. */
  readonly download?: boolean;
  /** `settled`, or the part of a sparse model's setting that the user changes next. */
  readonly setting?: 'settled' | 'share' | 'layers' | 'measure';
  /** An output that exists. */
  readonly taken?: string;
  readonly begin?: 'yes' | 'no' | 'change';
}

/** What has to be found out, by name. */
export interface Facts {
  readonly machine: Machine;
  readonly source: Source;
  /** That texts and checkpoint can be measured with. */
  readonly texts: true;
  readonly expected: Expected;
  /** That nothing stands in the way. */
  readonly ready: true;
}
export type FactName = keyof Facts;

export interface Machine {
  readonly hasNative: boolean;
  /** What `~` in a path stands for. */
  readonly home: string;
}

export interface Source {
  /** Undefined for what is only on the Hub. */
  readonly layers: number | undefined;
  /** Of what is only on the Hub, bytes to download. */
  readonly missingBytes: number;
}

/** What targets are expected to give, as rows of a table. */
export interface Expected {
  readonly heading: readonly string[];
  readonly rows: readonly { readonly target: number; readonly cells: readonly string[]; readonly problem?: string }[];
  readonly comparison: BuildComparison;
}

export interface Refusal {
  /** The question at which it can be mended. */
  readonly question: string;
  readonly message: string;
}

/** A fact, and the answers that it was found for, as text: with others it is stale. */
interface Known<Name extends FactName> {
  readonly key: string;
  readonly value: Facts[Name];
}

export interface State {
  readonly answers: Answers;
  readonly facts: { readonly [Name in FactName]?: Known<Name> };
  readonly refusal?: Refusal;
  /** Why a model was made and not shipped. */
  readonly failure?: Problem;
}

/** What is wrong, and in the next line what to do about it. */
export function problemText({ message, hint }: Pick<Problem, 'message' | 'hint'>): string {
  return hint === undefined ? message : `${message}\n  ${hint}`;
}

/** The answers on which each fact depends. */
const DEPENDS: Readonly<Record<FactName, readonly (keyof Answers)[]>> = {
  machine: [],
  source: ['checkpoint', 'download'],
  texts: ['checkpoint', 'adapter', 'goal', 'host', 'dtype', 'fit', 'choose', 'test', 'tokens'],
  expected: [
    ...(['checkpoint', 'adapter', 'goal', 'host', 'dtype', 'fit', 'choose', 'test', 'tokens', 'threads'] as const),
    ...(['output', 'work', 'target', 'measure', 'denseLayers', 'coldStart', 'coldEnd'] as const),
  ],
  ready: [
    ...(['checkpoint', 'adapter', 'goal', 'host', 'dtype', 'fit', 'choose', 'test', 'tokens', 'threads'] as const),
    ...(['output', 'work', 'target', 'measure', 'denseLayers', 'coldStart', 'coldEnd'] as const),
    ...(['budget', 'force', 'allowSlower'] as const),
  ],
};

function keyOf(name: FactName, answers: Answers): string {
  return JSON.stringify(DEPENDS[name].map((answer) => answers[answer] ?? null));
}

/** Undefined where it is not known for the present answers. */
export function factOf<Name extends FactName>({ facts, answers }: State, name: Name): Facts[Name] | undefined {
  const known = facts[name];
  return known?.key === keyOf(name, answers) ? known.value : undefined;
}

export function learn<Name extends FactName>(state: State, name: Name, value: Facts[Name]): State {
  return { ...state, facts: { ...state.facts, [name]: { key: keyOf(name, state.answers), value } } };
}

/** The state with answers changed. What was refused or failed before is settled by that. */
export function withAnswers({ answers, facts }: State, changes: Partial<Answers>): State {
  return { answers: { ...answers, ...changes }, facts };
}

/** The changes that take answers back. */
export function without(names: readonly (keyof Answers)[]): Partial<Answers> {
  return Object.fromEntries(names.map((name) => [name, undefined]));
}
