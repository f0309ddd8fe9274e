import { basename } from 'node:path';
import type { Asked } from '../question.ts';
import { type Answers, AUTO, withAnswers } from '../state.ts';
import { pathOf, pathProblem } from './paths.ts';

export const output: Asked = {
  id: 'output',
  name: 'the folder to make',
  needs: ['texts'],
  gives: ['output', 'force', 'taken'],
  isOpen: ({ answers }) => answers.output === undefined,
  ask: ({ answers }) => ({
    kind: 'text',
    message: 'Folder to make:',
    default: usualOutput(answers),
    problem: pathProblem,
  }),
  answer: (state, given) => withAnswers(state, { output: pathOf(state, given), force: undefined, taken: undefined }),
};

/** "./SmolLM2-135M-fast": beside where the user is, by the name of the checkpoint. */
export function usualOutput({ checkpoint = 'model', goal }: Answers): string {
  // A name on the Hub may end with a revision or a part of a GGUF file's name.
  const name = basename(checkpoint.replace(/\/+$/, ''))
    .replace(/[@:].*$/, '')
    .replace(/\.gguf$/i, '');
  return `./${/^\.*$/.test(name) ? 'model' : name}-${goal === AUTO || goal === undefined ? 'fast' : goal}`;
}
