import type { Asked } from '../question.ts';
import { withAnswers } from '../state.ts';
import { pathOf, pathProblem } from './paths.ts';

export const checkpoint: Asked = {
  id: 'checkpoint',
  name: 'the checkpoint',
  needs: ['machine'],
  gives: ['checkpoint', 'download'],
  isOpen: ({ answers }) => answers.checkpoint === undefined,
  ask: () => ({
    kind: 'text',
    message: 'Checkpoint (folder, GGUF file or owner/name on the Hub):',
    problem: pathProblem,
  }),
  answer: (state, given) => withAnswers(state, { checkpoint: pathOf(state, given), download: undefined }),
};
