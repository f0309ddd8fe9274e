import { type Asked, choice } from '../question.ts';
import { withAnswers } from '../state.ts';

export const begin: Asked = {
  id: 'begin',
  name: 'whether to begin',
  needs: ['ready'],
  gives: ['begin'],
  isOpen: ({ answers }) => answers.begin === undefined,
  ask: () => ({
    kind: 'choice',
    message: 'Begin?',
    choices: [
      choice('yes', 'Yes', 'yes'),
      choice('change', 'Change an answer', 'change an answer'),
      choice('no', 'No, only print the command', 'no, only print the command'),
    ],
  }),
  answer: (state, given) => withAnswers(state, { begin: given === 'yes' || given === 'change' ? given : 'no' }),
};
