/** What the answers ask for: the options of a function of the library, and the command that says the same. */

import { parseBudget } from '../core/budget.ts';
import { runsText } from '../core/layer-runs.ts';
import { hostNamed } from '../core/plan.ts';
import type { AutoOptions, BuildOptions, PlanOptions } from '../index.ts';
import { shareOptionOf } from './share-option.ts';
import { type Answers, AUTO, isSparse } from './state.ts';

/** A build as the library takes it: by a budget, or by a preset. */
export type BuildRequest =
  | { readonly kind: 'auto'; readonly options: AutoOptions }
  | { readonly kind: 'preset'; readonly options: BuildOptions };

/** Without what a build finds around it: the native core, caches, progress, a signal. */
export function requestOf(answers: Answers): BuildRequest {
  const { checkpoint = '', output = '', goal = AUTO, host, dtype, budget = '', allowSlower } = answers;
  const { adapter, tokens, threads, work, force, fit, choose, test } = answers;
  const shared = { checkpoint, output, adapter, tokens, threads, work, force, texts: { fit, choose, test } };
  if (goal === AUTO) return { kind: 'auto', options: { ...shared, host, budget } };
  const maxPplRatio = budget === '' ? undefined : parseBudget(budget).ppl;
  const share = shareOptionOf(goal);
  const { target, measure, denseLayers, coldStart, coldEnd } = answers;
  const own = Object.entries({ measure, denseLayers, coldStart, coldEnd }).filter(([, value]) => value !== undefined);
  // The options of a preset follow from its name alone. The compiler cannot check that.
  const preset = {
    preset: goal,
    ...(host !== undefined && { host: hostNamed(host, dtype) }),
    ...(target !== undefined && share !== undefined && { [share.name]: target }),
    ...Object.fromEntries(own),
  } as PlanOptions;
  return { kind: 'preset', options: { ...shared, dtype, maxPplRatio, allowSlower, preset } };
}

/** The words of a command that has the answers so far: `build`, which does all of it, or `wizard`, which goes on asking. */
export function commandOf(command: 'build' | 'wizard', answers: Answers): readonly string[] {
  const { checkpoint, goal, target, denseLayers, texts: _, ...flags } = answers;
  const optional = (name: string, value: string | number | undefined) =>
    value === undefined || value === '' ? [] : [name, String(value)];
  const isWhole = !hasTextsToName(answers);
  const files = (name: string, paths: readonly string[] | undefined) =>
    paths !== undefined && isWhole ? [name, ...paths] : [];
  // A search by a budget takes none of these.
  const sparse = [
    ...optional('--preset', goal),
    ...optional(`--${shareOptionOf(goal)?.name}`, target),
    ...optional('--measure', flags.measure),
    ...optional('--dense-layers', denseLayers && runsText(denseLayers, ',')),
    ...optional('--cold-start', flags.coldStart),
    ...optional('--cold-end', flags.coldEnd),
    ...optional('--dtype', flags.dtype),
    ...(flags.allowSlower ? ['--allow-slower'] : []),
  ];
  return [
    ...['lacuna', command],
    ...(checkpoint === undefined ? [] : [checkpoint]),
    ...optional('-o', flags.output),
    ...optional('--work', flags.work),
    ...files('--fit', flags.fit),
    ...files('--choose', flags.choose),
    ...files('--test', flags.test),
    ...optional('--tokens', flags.tokens),
    ...optional('--adapter', flags.adapter),
    ...(isSparse(answers) ? sparse : []),
    ...optional('--budget', flags.budget),
    ...optional('--host', flags.host),
    ...(flags.force ? ['--force'] : []),
    ...optional('--threads', flags.threads),
  ];
}

/** Answers that no option of `lacuna wizard` says, so that its command asks for them again. */
export function unsaidIn(answers: Answers): readonly (keyof Answers)[] {
  const { goal, budget, texts } = answers;
  return [
    // A budget without a preset says it.
    ...(goal === AUTO && budget === undefined ? (['goal'] as const) : []),
    ...(texts === 'package' || hasTextsToName(answers) ? (['texts'] as const) : []),
    ...(budget === '' ? (['budget'] as const) : []),
  ];
}

/** Whether the user's own texts are wanted and some are not named yet. A command with the others would not ask for them. */
function hasTextsToName({ texts, fit, choose, test }: Answers): boolean {
  return texts === 'own' && [fit, choose, test].includes(undefined);
}

/** A command as a shell reads it, in lines of at most `width` columns where words allow it. */
export function commandText(words: readonly string[], width: number): string {
  const [lines, line] = pairsOf(words.map(shellQuoted)).reduce<readonly [readonly string[], string]>(
    ([done, open], pair) => {
      if (open === '') return [done, pair];
      // A line that goes on ends with a space and a backslash.
      return open.length + 1 + pair.length + 2 <= width
        ? [done, `${open} ${pair}`]
        : [[...done, `${open} \\`], `  ${pair}`];
    },
    [[], ''],
  );
  return [...lines, line].join('\n');
}

/** An option with its first value is not torn apart. */
function pairsOf(words: readonly string[]): readonly string[] {
  const pairs: string[] = [];
  for (const word of words) {
    const last = pairs[pairs.length - 1];
    if (last !== undefined && /^--?[a-z-]+$/.test(last) && !word.startsWith('-')) pairs[pairs.length - 1] += ` ${word}`;
    else pairs.push(word);
  }
  return pairs;
}

function shellQuoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
