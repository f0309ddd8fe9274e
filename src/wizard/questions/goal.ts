import { PRESET_WORDS } from '../../index.ts';
import { type Asked, choice } from '../question.ts';
import { shareOptionOf } from '../share-option.ts';
import { AUTO, type Goal, withAnswers } from '../state.ts';

export const goal: Asked = {
  id: 'goal',
  name: 'what to make',
  needs: ['source'],
  gives: [
    ...(['goal', 'dtype', 'budget', 'output', 'target', 'measure', 'denseLayers', 'coldStart', 'coldEnd'] as const),
    ...(['setting', 'allowSlower'] as const),
  ],
  isOpen: ({ answers }) => answers.goal === undefined,
  ask: () => ({
    kind: 'choice',
    message: 'What to make?',
    choices: [
      choice(AUTO, 'The fastest dense model within a budget (recommended)', 'the fastest dense model within a budget'),
      ...PRESET_WORDS.map(({ name }) =>
        choice(
          name,
          `A sparse model by ${name}, by the ${shareOptionOf(name)?.description}`,
          `a sparse model by ${name}`,
        ),
      ),
    ],
  }),
  answer: (state, given) => withAnswers(state, { goal: given as Goal }),
};
