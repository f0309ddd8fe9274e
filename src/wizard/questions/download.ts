import { formatBytes } from '../../core/figures.ts';
import { type Asked, choice } from '../question.ts';
import { factOf, withAnswers } from '../state.ts';

/** Nothing is downloaded unasked. */
export const download: Asked = {
  id: 'download',
  name: 'the download',
  needs: ['source'],
  gives: ['download'],
  isOpen: (state) => (factOf(state, 'source')?.missingBytes ?? 0) > 0,
  ask: (state) => ({
    kind: 'choice',
    message: `Download ${formatBytes(factOf(state, 'source')?.missingBytes ?? 0)} now?`,
    choices: [choice('yes', 'Yes; a stopped download goes on later', 'yes'), choice('no', 'No, another checkpoint')],
  }),
  answer: (state, given) =>
    withAnswers(state, given === 'yes' ? { download: true } : { checkpoint: undefined, download: undefined }),
};
