import * as z from 'zod';
import { PRESET_WORDS } from '../../index.ts';
import { type Asked, choice } from '../question.ts';
import type { Answers } from '../state.ts';
import { moved } from './setting.ts';

export const measure: Asked = {
  id: 'measure',
  name: 'what neurons are chosen by',
  needs: [],
  gives: ['measure', 'setting'],
  isOpen: ({ answers }) => answers.setting === 'measure',
  ask: ({ answers }) => ({
    kind: 'choice',
    message: 'Choose neurons by which score?',
    choices: scoresOf(answers).map((name) => choice(name, name)),
    ...(answers.measure !== undefined && { default: answers.measure }),
  }),
  answer: (state, given) => moved(state, { measure: given }),
};

function scoresOf({ goal }: Answers): readonly string[] {
  const schema = PRESET_WORDS.find(({ name }) => name === goal)?.options.measure;
  if (schema === undefined) return [];
  return z.toJSONSchema(schema).enum?.filter((score) => typeof score === 'string') ?? [];
}
