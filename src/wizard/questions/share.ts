import type { Asked } from '../question.ts';
import { shareOptionOf } from '../share-option.ts';
import { moved } from './setting.ts';

export const share: Asked = {
  id: 'share',
  name: 'the target',
  needs: [],
  gives: ['target', 'setting'],
  isOpen: ({ answers }) => answers.setting === 'share',
  ask: ({ answers }) => ({
    kind: 'text',
    message: `The ${shareOptionOf(answers.goal)?.description}:`,
    problem: (given) => (shareOf(given) === undefined ? 'Type a share between 0 and 1, as 0.4 or 40%.' : undefined),
  }),
  answer: (state, given) => moved(state, { target: shareOf(given) }),
};

function shareOf(given: string): number | undefined {
  const text = given.trim();
  const value = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
  return text !== '' && value > 0 && value < 1 ? value : undefined;
}
