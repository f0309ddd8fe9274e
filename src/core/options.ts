/** Checks options of public functions against a schema. Errors name what is wrong and what was wanted. */
import * as z from 'zod';
import { invalidArgument, LacunaError } from './errors.ts';
import { nearest } from './nearest.ts';

type Fields = Readonly<Record<string, z.ZodType>>;

/** What may be given of some fields. */
export type Given<F extends Fields> = { readonly [Name in keyof F]?: z.output<F[Name]> };

/** What has to be given of some fields, and may be of others. */
export type Options<Required extends Fields, Optional extends Fields> = {
  readonly [Name in keyof Required]: z.output<Required[Name]>;
} & Given<Optional>;

/** The schema of options: fields that have to be given, and those that may be. All others are refused. */
export function optionsOf<Required extends Fields, Optional extends Fields>(
  required: Required,
  optional: Optional,
): z.ZodType<Options<Required, Optional>> {
  const entries = Object.entries(optional).map(([name, schema]) => [name, schema.optional()] as const);
  const schema: unknown = z.strictObject({ ...required, ...Object.fromEntries(entries) });
  return schema as z.ZodType<Options<Required, Optional>>;
}

/** What Node's file system refuses with an error of its own. */
export const path = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'a path, which holds no NUL');

/** A list of `least` items or more. */
export function listOf<T>(item: z.ZodType<T>, least = 1): z.ZodType<readonly T[]> {
  return z.array(item).min(least);
}

export const files = listOf(path);

/**
 * A function of the public door: it holds what it is given against the schema, once and before anything is done, and rejects with
 * `usage` where a field is unknown, missing, of another type or out of range. What it hands on has been checked.
 */
export function door<Given, Result>(
  of: string,
  schema: z.ZodType<NoInfer<Given>>,
  work: (options: Given) => Promise<Result>,
): (options: Given) => Promise<Result> {
  return async (given) => work(checkArgument(schema, given, { of }));
}

/**
 * The given options, or `usage` with the first fault. An unknown field comes before a missing one, because it may be
 * its misspelt name. `name` is the argument's name, or nothing for an object of options.
 */
export function checkArgument<T>(schema: z.ZodType<T>, given: unknown, { of, name }: { of: string; name?: string }): T {
  const result = schema.safeParse(given, { error: wanted });
  if (result.success) return result.data;
  const { issues } = result.error;
  const issue = furthest(issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]);
  if (issue.code === 'unrecognized_keys') throw unknownField(of, issue);
  const label = pathText([...(name === undefined ? [] : [name]), ...issue.path]);
  const value = issue.path.reduce<unknown>((outer, key) => Object(outer)[key], given);
  const error = invalidArgument(label === '' ? `the options of ${of}` : label, issue.message, value);
  const isListWanted = issue.code === 'invalid_type' && issue.expected === 'array';
  if (!isListWanted || typeof value !== 'string') throw error;
  throw new LacunaError('usage', error.message, { hint: `A single one is also a list: ["${value}"].` });
}

type Issue = z.core.$ZodIssue;

/** For a value that matches none of several alternatives: the fault against the most similar alternative. */
function furthest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue;
  const depth = (issues: readonly Issue[]) => Math.max(...issues.map(({ path }) => path.length));
  const [[first]] = issue.errors.toSorted((a, b) => depth(b) - depth(a));
  const inner = furthest(first);
  return { ...inner, path: [...issue.path, ...inner.path] };
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
};

/** What was wanted, as the message of each issue. For unknown fields, the known ones. */
export function wanted(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.inst instanceof z.ZodNumberFormat) return KINDS.int;
      return KINDS[issue.expected] ?? `a ${issue.expected}`;
    case 'invalid_value':
      return issue.values.join(', ');
    case 'invalid_union':
      return 'options' in issue && Array.isArray(issue.options) ? issue.options.join(', ') : undefined;
    case 'too_small':
      if (issue.origin === 'string') return 'a string that is not empty';
      if (issue.origin === 'array') return 'a list that is not empty';
      return `a number ${issue.inclusive ? 'of at least' : 'above'} ${issue.minimum}`;
    case 'too_big':
      return `a number ${issue.inclusive ? 'of at most' : 'below'} ${issue.maximum}`;
    case 'unrecognized_keys':
      return issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape).join(', ') : undefined;
    default:
      return undefined;
  }
}

function unknownField(of: string, { path, keys, message }: z.core.$ZodIssueUnrecognizedKeys): LacunaError {
  const like = nearest(keys[0], message.split(', '));
  return new LacunaError(
    'usage',
    `${of} takes no ${pathText([...path, keys[0]])}: did you mean ${pathText([...path, like])}?`,
    { hint: `It takes ${path.length === 0 ? '' : `in ${pathText(path)} `}${message}.` },
  );
}

/** "texts.fit[0]". */
function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`))
    .join('');
}
