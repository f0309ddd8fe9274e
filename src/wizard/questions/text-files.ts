/** The files of the user's own texts, a question for each purpose. */
import type { Asked } from '../question.ts';
import { withAnswers } from '../state.ts';
import { pathProblem, pathsOf } from './paths.ts';

function textFiles(id: 'fit' | 'choose' | 'test', what: string): Asked {
  return {
    id,
    name: `the texts to ${what}`,
    needs: [],
    gives: [id],
    isOpen: ({ answers }) => answers.texts === 'own' && answers[id] === undefined,
    ask: () => ({ kind: 'text', message: `Files to ${what} (commas between several):`, problem: pathProblem }),
    answer: (state, given) => withAnswers(state, { [id]: pathsOf(state, given) }),
  };
}

export const fit = textFiles('fit', 'calibrate and round by');
export const choose = textFiles('choose', 'choose the model on');
export const test = textFiles('test', 'take the figures from');
