/** What to do about a model that was made and measured, and kept to no budget or to no speed. */
import type { Problem } from '../../index.ts';
import { type Asked, type Choice, choice } from '../question.ts';
import { type Answers, isSparse, withAnswers } from '../state.ts';

export const refused: Asked = {
  id: 'refused',
  name: 'what to do instead',
  needs: [],
  gives: [],
  isOpen: ({ failure, answers }) => failure !== undefined && answers.begin !== 'no',
  ask: ({ answers, failure }) => ({
    kind: 'choice',
    message: 'Nothing was written. What now? (what was measured is kept)',
    choices: [...waysOn(answers, failure), choice('stop', 'Stop here', 'stop here')],
  }),
  answer: (state, given) => {
    const changes = { budget: { budget: undefined }, setting: { setting: undefined }, slower: { allowSlower: true } };
    // Who stops here leaves with the failure.
    if (given !== 'budget' && given !== 'setting' && given !== 'slower')
      return { ...state, answers: { ...state.answers, begin: 'no' } };
    return withAnswers(state, { ...changes[given], begin: undefined });
  },
};

/** What can mend the failure: a budget makes no model faster, and a model that may be slower is no more exact. */
function waysOn(answers: Answers, failure: Problem | undefined): readonly Choice[] {
  const budget = choice('budget', 'Another budget', 'another budget');
  const setting = choice('setting', 'Another setting', 'another setting');
  if (!isSparse(answers)) return [budget];
  // Of all that may fail, only a model that is slower is shipped all the same by this.
  return failure?.hint?.includes('--allow-slower')
    ? [setting, choice('slower', 'The same, even if it is slower than the dense model', 'even if it is slower')]
    : [budget, setting];
}
