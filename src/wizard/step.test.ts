/** The wizard without a terminal: whatever is answered, it ends in options that the library takes, and in the command that says them. */
import { Command } from 'commander';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requestOf as parsedRequest, withBuildOptions } from '../cli/build.ts';
import type { CommandContext } from '../cli/command.ts';
import { withCommonOptions } from '../cli/command.ts';
import { answersOf, withAnswers as withAnswerOptions } from '../cli/wizard.ts';
import { LacunaError } from '../core/errors.ts';
import { checkArgument } from '../core/options.ts';
import { SILENT } from '../core/progress.ts';
import type { Problem } from '../index.ts';
import { autoOptions } from '../pipeline/auto/job.ts';
import { buildOptions } from '../pipeline/build/options.ts';
import { planOptionsSchema } from '../plan/index.ts';
import type { Question } from './question.ts';
import { QUESTIONS } from './questions/list.ts';
import { targetIn } from './questions/setting.ts';
import { type BuildRequest, commandOf, requestOf, unsaidIn } from './request.ts';
import { type Answers, type FactName, type Facts, learn, type State, withAnswers } from './state.ts';
import { nextStep, type Step } from './step.ts';

const LAYERS = 12;

/** What a machine and a checkpoint of twelve layers would be found to be. */
function found(name: FactName, state: State, hasNative: boolean): State {
  const target = targetIn(state.answers);
  const rows = [0.9, 0.5, ...(target === undefined ? [] : [target])].map((share) => ({
    target: share,
    cells: [share === target ? '*' : '', `${100 * share} %`],
  }));
  const facts: Facts = {
    machine: { hasNative, home: '/home/someone' },
    source: { layers: LAYERS, missingBytes: state.answers.checkpoint?.includes('/') ? 0 : 10 },
    texts: true,
    expected: {
      heading: ['', 'target'],
      rows,
      comparison: { targets: [] } as unknown as Facts['expected']['comparison'],
    },
    ready: true,
  };
  // What is typed for the checkpoint is there, so no folder can be made in its place.
  const { output, force } = state.answers;
  if (name === 'ready' && output === './model' && !force) return withAnswers(state, { taken: output });
  const source = { ...facts.source, missingBytes: state.answers.download ? 0 : facts.source.missingBytes };
  const isStock = name === 'machine' && !hasNative && state.answers.host === undefined;
  const changed = isStock ? withAnswers(state, { host: 'stock' }) : state;
  return learn(changed, name, { ...facts, source }[name]);
}

/** Texts that people type. Those that a question does not refuse are its answers. */
const TYPED = [
  ...['./model', '~/models/SmolLM2 135M', "it's here", 'owner/name@main:Q8_0', 'a.txt, ~/b.jsonl'],
  ...['ppl<=1.02', 'ppl<=2%', 'kl<=0.02, speed>=1.3, bytes<=120MB', 'none', 'auto'],
  ...['0.4', '35%', '1e-3', '0-2,11', '3-5', '0', '', ' ', '-1', '12', 'ppl<=0.9', '--force'],
];

/** An answer by a number; without one, what Enter gives. */
function answerTo(question: Question, decision: number | undefined): string {
  if (question.kind === 'choice') {
    const open = question.choices.filter(({ problem }) => problem === undefined);
    if (decision === undefined) return question.default ?? open[0].value;
    return open[decision % open.length].value;
  }
  const valid = TYPED.filter((typed) => question.problem(typed) === undefined);
  if (decision === undefined && question.default !== undefined) return question.default;
  return valid[(decision ?? 0) % valid.length];
}

interface Walked {
  readonly state: State;
  /** 'left' before more questions than are to be answered. */
  readonly end: Exclude<Step['kind'], 'find' | 'ask'> | 'left';
  readonly asked: readonly string[];
}

function walk(given: Answers, decisions: readonly number[], hasNative = true, failure?: Problem, most = 500): Walked {
  let state: State = { answers: given, facts: {}, ...(failure !== undefined && { failure }) };
  const asked: string[] = [];
  const tape = [...decisions];
  for (let step = 0; step < 500; step++) {
    const next = nextStep(state);
    switch (next.kind) {
      case 'find':
        state = found(next.fact, state, hasNative);
        break;
      case 'ask':
        if (asked.length === most) return { state, end: 'left', asked };
        asked.push(next.asked.id);
        state = next.asked.answer(state, answerTo(next.question, tape.shift()));
        break;
      default:
        return { state, end: next.kind, asked };
    }
  }
  throw new Error(`no end after ${asked.join(', ')}`);
}

const context = {
  io: { signal: new AbortController().signal },
  progress: SILENT,
} as unknown as CommandContext;

/** What `lacuna build` would call for these words. */
function parsed(words: readonly string[]) {
  const command = withCommonOptions(withBuildOptions(new Command('build').argument('<checkpoint>'))).exitOverride();
  command.parse(words.slice(2), { from: 'user' });
  const request = parsedRequest(command.args[0], command.opts(), context);
  const own = { progress: undefined, signal: undefined };
  return { ...request, options: { ...request.options, ...own } } as BuildRequest;
}

/** What the wizard begins with for these words; undefined where it refuses them. */
function answersIn(words: readonly string[]): Answers | undefined {
  const command = withCommonOptions(withAnswerOptions(new Command('wizard').argument('[checkpoint]'))).exitOverride();
  command.parse([...words], { from: 'user' });
  try {
    return answersOf(command.args[0], command.opts());
  } catch (error) {
    if (error instanceof LacunaError && error.code === 'usage') return undefined;
    throw error;
  }
}

const SPARSE_FLAGS = [['--dtype', 'int8'], ['--allow-slower']];
const PRESET_FLAGS = [
  { preset: [], own: [] },
  {
    preset: ['--preset', 'top-k'],
    own: [['--keep', '0.3'], ['--measure', 'product'], ['--dense-layers', '0,11'], ...SPARSE_FLAGS],
  },
  {
    preset: ['--preset', 'ffn-skip'],
    own: [['--skip', '0.2'], ['--cold-start', '3'], ['--cold-end', '9'], ...SPARSE_FLAGS],
  },
];
const COMMON_FLAGS = [
  ...[['-o', './out'], ['--force'], ['--work', './work'], ['--fit', 'a.txt', 'b.txt'], ['--choose', 'c.txt']],
  ...[
    ['--tokens', '1100'],
    ['--adapter', './lora'],
    ['--budget', 'ppl<=1.1'],
    ['--host', 'stock'],
    ['--threads', '2'],
  ],
  ['--budget', 'kl<=0.05'],
];

/** Questions whose answers outlive a session: all but those on how to go on, and parts of others. */
const KEPT = QUESTIONS.filter(({ id }) =>
  ['checkpoint', 'goal', 'host', 'dtype', 'texts', 'budget', 'output', 'setting'].includes(id),
);

/** With what the preset's schema fills in. */
function withDefaults({ kind, options }: BuildRequest) {
  return {
    kind,
    options: 'preset' in options ? { ...options, preset: planOptionsSchema.parse(options.preset) } : options,
  };
}

describe('the wizard by Enter alone', () => {
  it('asks what matters, in order, and makes the fastest dense model', () => {
    const { state, end, asked } = walk({}, [0]);
    expect(asked).toEqual(['checkpoint', 'goal', 'host', 'texts', 'budget', 'output', 'begin']);
    expect(end).toBe('build');
    expect(requestOf(state.answers)).toEqual({
      kind: 'auto',
      options: { checkpoint: './model', output: './model-fast', budget: 'ppl<=1.02', host: 'native', texts: {} },
    });
    expect(commandOf('build', state.answers).join(' ')).toBe(
      'lacuna build ./model -o ./model-fast --budget ppl<=1.02 --host native',
    );
  });

  it('does not ask for a host where there is only one, nor for what was given', () => {
    const given: Answers = { checkpoint: './model', goal: 'top-k', dtype: 'int8', target: 0.3, budget: 'ppl<=1.1' };
    const { state, asked } = walk(given, [], false);
    expect(asked).toEqual(['texts', 'output', 'setting', 'begin']);
    expect(state.answers).toMatchObject({ host: 'stock', target: 0.3, output: './model-top-k' });
  });

  it.each([
    [true, 'auto', ['checkpoint', 'goal', 'host', 'texts', 'budget', 'output']],
    [false, 'auto', ['checkpoint', 'goal', 'texts', 'budget', 'output']],
    [false, 'top-k', ['checkpoint', 'goal', 'dtype', 'texts', 'budget', 'output', 'setting']],
  ] as const)('lets all be changed that is asked: native core %s, %s', (hasNative, goal, wanted) => {
    const { answers } = walk({ checkpoint: './model', goal, texts: 'package' }, [], hasNative).state;
    const known = found('machine', { answers, facts: {} }, hasNative);
    const question = QUESTIONS.find(({ id }) => id === 'change')?.ask(known);
    expect(question?.kind === 'choice' && question.choices.map(({ value }) => value)).toEqual(wanted);
  });

  it('replaces a folder only when it is allowed to', () => {
    const given: Answers = {
      checkpoint: './model',
      output: './model',
      goal: 'auto',
      budget: 'ppl<=1.02',
      host: 'stock',
    };
    const replaced = walk(given, [0, 1]);
    expect(replaced.asked).toEqual(['texts', 'replace', 'begin']);
    expect(commandOf('build', replaced.state.answers)).toContain('--force');
    const other = walk(given, [0, 0]);
    expect(other.asked).toEqual(['texts', 'replace', 'output', 'begin']);
    expect(commandOf('build', other.state.answers)).not.toContain('--force');
  });

  it('downloads nothing unasked', () => {
    expect(walk({ checkpoint: 'model' }, []).asked.slice(0, 2)).toEqual(['download', 'goal']);
    expect(walk({ checkpoint: 'model' }, [1]).asked.slice(0, 2)).toEqual(['download', 'checkpoint']);
  });
});

describe('what is said at a question', () => {
  it('is why its answer was refused', () => {
    const refusal = { question: 'checkpoint', message: 'Nothing at ./gone' };
    const known = found('machine', { answers: {}, facts: {} }, true);
    const step = nextStep({ ...known, refusal });
    expect(step).toMatchObject({ kind: 'ask', asked: { id: 'checkpoint' }, question: { said: ['Nothing at ./gone'] } });
  });

  it.each([
    ['budget', 'ppl<=0.5', /no model can keep to "ppl<=0\.5"/],
    ['budget', '', /a limit is empty/],
    ['output', '  ', /Type a path/],
  ])('is what is wrong with what is typed: %s %j', (id, typed, problem) => {
    const question = QUESTIONS.find((asked) => asked.id === id)?.ask({ answers: { goal: 'auto' }, facts: {} });
    expect(question?.kind === 'text' && question.problem(typed)).toMatch(problem);
  });

  it.each([
    ['top-k', '0-11', /has to be left/],
    ['top-k', '12', /last layer is 11/],
    ['top-k', 'all', /Type layers/],
    ['ffn-skip', '3-5,7', /first and the last layer of a run/],
    ['ffn-skip', '4', /first and the last layer of a run/],
    ['ffn-skip', '4-12', /last layer is 11/],
  ] as const)('is what is wrong with layers of %s: %s', (goal, typed, problem) => {
    const state = found('source', { answers: { goal, checkpoint: './model' }, facts: {} }, true);
    const question = QUESTIONS.find((asked) => asked.id === 'layers')?.ask(state);
    expect(question?.kind === 'text' && question.problem(typed)).toMatch(problem);
  });

  it.each([
    ['ffn-skip', '3-5', { coldStart: 3, coldEnd: 6 }],
    ['ffn-skip', 'auto', { coldStart: undefined, coldEnd: undefined }],
    ['top-k', '0-2, 11', { denseLayers: [0, 1, 2, 11] }],
    ['top-k', 'none', { denseLayers: undefined }],
  ] as const)('of %s sets layers: %s', (goal, typed, wanted) => {
    const state = { answers: { goal, setting: 'layers', coldStart: 1, denseLayers: [4] } as const, facts: {} };
    const { answers } = QUESTIONS.find(({ id }) => id === 'layers')?.answer(state, typed) ?? state;
    expect(answers).toMatchObject({ ...wanted, setting: undefined });
  });

  it('of a sparse model is that only its perplexity is limited', () => {
    const question = QUESTIONS.find(({ id }) => id === 'budget')?.ask({ answers: { goal: 'top-k' }, facts: {} });
    expect(question?.kind === 'text' && question.problem('bytes<=1MB')).toMatch(/ppl alone is limited, not bytes/);
  });
});

describe('after a model that was not shipped', () => {
  const slower = { code: 'check-failed', message: 'It is slower', hint: 'Ship it with --allow-slower.' } as const;
  const over = { code: 'check-failed', message: 'It is over the budget', hint: 'Allow more (--budget).' } as const;

  it.each([
    [over, 'top-k', 0, ['refused', 'budget', 'begin'], 'build'],
    [over, 'top-k', 1, ['refused', 'setting', 'begin'], 'build'],
    [over, 'top-k', 2, ['refused'], 'stop'],
    [slower, 'top-k', 0, ['refused', 'setting', 'begin'], 'build'],
    [slower, 'top-k', 1, ['refused', 'begin'], 'build'],
    [slower, 'top-k', 2, ['refused'], 'stop'],
    [over, 'auto', 0, ['refused', 'budget', 'begin'], 'build'],
    [over, 'auto', 1, ['refused'], 'stop'],
  ] as const)('is asked only for what can mend it: %j of %s, choice %i', (failure, goal, chosen, asked, end) => {
    const done = walk({ checkpoint: './model', goal, texts: 'package' }, []).state.answers;
    const walked = walk(done, [chosen], true, failure);
    expect(walked).toMatchObject({ asked, end });
    // Who stops leaves with the failure, and nobody else.
    expect(walked.state.failure).toEqual(end === 'stop' ? failure : undefined);
  });

  it('is said why', () => {
    const { answers } = walk({ checkpoint: './model', goal: 'top-k', texts: 'package' }, []).state;
    expect(nextStep({ answers, facts: {}, failure: slower })).toMatchObject({
      question: { said: ['It is slower\n  Ship it with --allow-slower.'] },
    });
  });
});

describe('whatever is answered', () => {
  const decisions = fc.array(fc.nat(), { maxLength: 40 });
  /** Options that are given beforehand: some for all goals, some of one preset or of none, and at times one of another. */
  const flags = fc
    .tuple(
      fc.constantFrom(...PRESET_FLAGS),
      fc.subarray(
        PRESET_FLAGS.flatMap(({ own }) => own),
        { maxLength: 1 },
      ),
    )
    .chain(([{ preset, own }, foreign]) =>
      fc.tuple(fc.constant(preset), fc.subarray([...own]), fc.subarray(COMMON_FLAGS), fc.constantFrom([], foreign)),
    )
    .map((parts) => parts.flat(2));

  it('ends in options that the library takes and that the command parses to', () => {
    const goals = new Set<string>();
    const refused = new Set<boolean>();
    fc.assert(
      fc.property(flags, decisions, fc.boolean(), (words, tape, hasNative) => {
        const given = answersIn(words);
        refused.add(given === undefined);
        if (given === undefined) {
          expect(() => parsed(['lacuna', 'build', './model', '-o', './out', ...words])).toThrow(LacunaError);
          return;
        }
        const { state } = walk(given, tape, hasNative);
        const request = requestOf(state.answers);
        const schema = request.kind === 'auto' ? autoOptions : buildOptions;
        expect(() => checkArgument<unknown>(schema, request.options, { of: 'build' })).not.toThrow();
        expect(withDefaults(parsed(commandOf('build', state.answers)))).toEqual(withDefaults(request));
        goals.add(state.answers.goal ?? '');
      }),
      { numRuns: 400 },
    );
    expect([...goals].sort()).toEqual(['auto', 'ffn-skip', 'replace', 'top-k']);
    // What the wizard refuses, `build` refuses too.
    expect(refused.size).toBe(2);
  });

  it('can be gone on from at every question by the command that has the answers so far', () => {
    const answered = new Set<string>();
    fc.assert(
      fc.property(decisions, fc.nat({ max: 20 }), (tape, most) => {
        const { state } = walk({}, tape, true, undefined, most);
        const given = answersIn(commandOf('wizard', state.answers).slice(2));
        if (given === undefined) throw new Error('The wizard refuses its own command');
        const unsaid = unsaidIn(state.answers);
        for (const { id, isOpen, gives } of KEPT) {
          // A setting of which something is to change is no answer yet.
          const isMoving = id === 'setting' && state.answers.setting !== 'settled';
          if (isMoving || isOpen(state) || gives.every((name) => state.answers[name] === undefined)) continue;
          answered.add(id);
          const isAskedAgain = isOpen({ ...state, answers: given });
          expect([id, isAskedAgain]).toEqual([id, unsaid.some((name) => name === id)]);
        }
        // What is asked for again is all that the command lacks.
        const again = Object.fromEntries(unsaid.map((name) => [name, state.answers[name]]));
        expect(commandOf('build', { ...given, ...again })).toEqual(commandOf('build', state.answers));
      }),
      { numRuns: 300 },
    );
    expect(answered.size).toBe(KEPT.length);
  });
});
