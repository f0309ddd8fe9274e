import { type Asked, choice } from '../question.ts';
import { withAnswers } from '../state.ts';

export const texts: Asked = {
  id: 'texts',
  name: 'the texts',
  needs: [],
  gives: ['texts', 'fit', 'choose', 'test'],
  isOpen: ({ answers: { texts, fit, choose, test } }) =>
    texts === undefined && [fit, choose, test].every((files) => files === undefined),
  ask: () => ({
    kind: 'choice',
    message: 'Which texts to measure on?',
    choices: [
      choice('package', 'Those of the package: English prose, instructions, reference, code', 'those of the package'),
      choice('own', 'My own files, UTF-8 or JSONL: three that share no document', 'my own files'),
    ],
  }),
  answer: (state, given) => withAnswers(state, { texts: given === 'own' ? 'own' : 'package' }),
};
