/** The target of a sparse model: rows of what each is expected to give, and ways to move what stands beside it. */
import { PRESET_WORDS } from '../../index.ts';
import { type Asked, type Choice, choice } from '../question.ts';
import { type Answers, factOf, isSparse, type State, withAnswers } from '../state.ts';

export const setting: Asked = {
  id: 'setting',
  name: 'the setting',
  needs: ['expected'],
  gives: ['setting'],
  isOpen: ({ answers }) => isSparse(answers) && answers.setting === undefined,
  ask: (state) => {
    const { heading = [], rows = [] } = factOf(state, 'expected') ?? {};
    const choices = rows.map(({ target, cells, problem }): Choice => {
      const short = cells[1];
      return { value: String(target), cells, short, ...(problem !== undefined && { problem }) };
    });
    return {
      kind: 'choice',
      message: 'Which target?',
      heading,
      choices: [...choices, ...movesOf(state.answers)],
      default: String(targetIn(state.answers)),
    };
  },
  answer: (state, given) =>
    given === 'share' || given === 'measure' || given === 'layers'
      ? withAnswers(state, { setting: given })
      : withAnswers(state, { setting: 'settled', target: Number(given) }),
};

/** The target that is set, or the usual one. */
export function targetIn({ goal, target }: Answers): number | undefined {
  return target ?? PRESET_WORDS.find(({ name }) => name === goal)?.target.usual;
}

/** What else of the preset can be moved here. */
function movesOf({ goal }: Answers): readonly Choice[] {
  const options = PRESET_WORDS.find(({ name }) => name === goal)?.options ?? {};
  return [
    choice('share', 'another target'),
    ...('measure' in options ? [choice('measure', 'another score of neurons')] : []),
    ...('denseLayers' in options || 'coldStart' in options ? [choice('layers', 'other layers')] : []),
  ];
}

/** Where to go on after one of these moves: to the rows, which are made anew. */
export function moved(state: State, changes: Partial<Answers>): State {
  return withAnswers(state, { ...changes, setting: undefined });
}
