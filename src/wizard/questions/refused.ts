/** What to do about a model that was made and measured, and kept to no budget or to no speed. */
import { type Asked, choice } from '../question.ts';
import { isSparse, withAnswers } from '../state.ts';

export const refused: Asked = {
  id: 'refused',
  name: 'what to do instead',
  needs: [],
  gives: [],
  isOpen: ({ failure }) => failure !== undefined,
  ask: ({ answers }) => ({
    kind: 'choice',
    message: 'Nothing was written. What now? (what was measured is kept)',
    choices: [
      choice('budget', 'Another budget', 'another budget'),
      ...(isSparse(answers)
        ? [
            choice('setting', 'Another setting', 'another setting'),
            choice('slower', 'The same, even if it is slower than the dense model', 'even if it is slower'),
          ]
        : []),
      choice('stop', 'Stop here', 'stop here'),
    ],
  }),
  answer: (state, given) => {
    const changes = { budget: { budget: undefined }, setting: { setting: undefined }, slower: { allowSlower: true } };
    if (given !== 'budget' && given !== 'setting' && given !== 'slower') return withAnswers(state, { begin: 'no' });
    return withAnswers(state, { ...changes[given], begin: undefined });
  },
};
