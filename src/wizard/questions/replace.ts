import { type Asked, choice } from '../question.ts';
import { withAnswers } from '../state.ts';

export const replace: Asked = {
  id: 'replace',
  name: 'what becomes of the folder that is there',
  needs: [],
  gives: ['force'],
  isOpen: ({ answers }) => answers.taken !== undefined && answers.taken === answers.output && !answers.force,
  ask: ({ answers }) => ({
    kind: 'choice',
    message: `${answers.output} exists. What to do?`,
    choices: [
      choice('other', 'Make another folder', 'make another folder'),
      choice('replace', 'Replace it when the new model is done', 'replace it'),
    ],
  }),
  answer: (state, given) =>
    withAnswers(state, given === 'replace' ? { force: true } : { output: undefined, taken: undefined }),
};
