/** The wizard: asks what matters, shows what is measured, and makes the model. All that it does, a command does too. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LacunaError, throwIfAborted } from '../core/errors.ts';
import { listed } from '../core/precision.ts';
import type { Problem } from '../index.ts';
import { ask, type Terminal } from './draw.ts';
import { type Built, type Finding, find, make } from './find.ts';
import { QUESTIONS } from './questions/list.ts';
import { commandOf, commandText, unsaidIn } from './request.ts';
import type { Answers, State } from './state.ts';
import { nextStep } from './step.ts';

export type { Built, Words } from './find.ts';
export { type BuildRequest, commandOf, commandText, requestOf } from './request.ts';
export { type Answers, AUTO } from './state.ts';

export interface WizardResult {
  /** The command that does the same. */
  readonly command: readonly string[];
  /** Undefined where the user wanted the command alone. */
  readonly built: Built | undefined;
  /** Where the model's report lies, if it has one. */
  readonly report?: string;
}

/** Asks from the answers given on, until there is a model or the user leaves. Errors say how to go on. */
export async function runWizard(given: Answers, terminal: Terminal, finding: Finding): Promise<WizardResult> {
  let state: State = { answers: given, facts: {} };
  let isBuilding = false;
  try {
    for (;;) {
      throwIfAborted(terminal.signal);
      const step = nextStep(state);
      switch (step.kind) {
        case 'find':
          state = await find(step.fact, state, finding);
          break;
        case 'ask':
          state = step.asked.answer(state, await ask(step.question, terminal));
          break;
        case 'stop':
          if (state.failure !== undefined) throw errorOf(state.failure);
          return { command: commandOf('build', state.answers), built: undefined };
        case 'build': {
          isBuilding = true;
          const built = await madeOr(state, finding);
          if (built.kind !== 'failed') return { command: commandOf('build', state.answers), built, ...reportOf(built) };
          isBuilding = false;
          state = { ...state, failure: built.failure };
        }
      }
    }
  } catch (error) {
    finding.say(howToGoOn(state.answers, isBuilding));
    throw error;
  }
}

function reportOf({ result: { output } }: Built): Pick<WizardResult, 'report'> {
  const report = join(output, 'lacuna/report.html');
  return existsSync(report) ? { report } : {};
}

/** A model that was measured and not shipped is no end: another budget needs little that is not measured. */
async function madeOr(
  { answers }: State,
  { surroundings }: Finding,
): Promise<Built | { readonly kind: 'failed'; readonly failure: Problem }> {
  try {
    return await make(answers, surroundings);
  } catch (error) {
    if (!(error instanceof LacunaError) || error.code !== 'check-failed') throw error;
    return { kind: 'failed', failure: { code: error.code, message: error.message, hint: error.hint } };
  }
}

function errorOf({ code, message, hint }: Problem): LacunaError {
  return new LacunaError(code, message, { hint });
}

const WIDTH = 80;

function howToGoOn(answers: Answers, isBuilding: boolean): string {
  const command = commandText(commandOf(isBuilding ? 'build' : 'wizard', answers), WIDTH);
  return `${isBuilding ? 'This goes on where it stopped' : `This goes on with the answers so far${exceptFor(answers)}`}:\n${command}`;
}

/** What the wizard's command asks for again, because no option says it. */
function exceptFor(answers: Answers): string {
  const unsaid = unsaidIn(answers);
  const names = QUESTIONS.filter(({ id }) => unsaid.some((answer) => answer === id)).map(({ name }) => name);
  return names.length === 0 ? '' : `, and asks again for ${listed(names, 'and')}`;
}
