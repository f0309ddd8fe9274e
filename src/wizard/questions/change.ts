import { type Asked, choice } from '../question.ts';
import { type State, withAnswers, without } from '../state.ts';

/** Takes one answer back, of those that `all` give and would ask for again; what else was answered stays. */
export function changeOf(all: readonly Asked[]): Asked {
  const given = (state: State) =>
    all.filter(({ gives, isOpen }) => {
      const isAnswered = gives.some((name) => state.answers[name] !== undefined);
      return isAnswered && isOpen(withAnswers(state, without(gives)));
    });
  return {
    id: 'change',
    name: 'what to change',
    needs: [],
    gives: [],
    isOpen: ({ answers }) => answers.begin === 'change',
    ask: (state) => ({
      kind: 'choice',
      message: 'Change what?',
      choices: given(state).map(({ id, name }) => choice(id, name)),
    }),
    answer: (state, id) => {
      const names = all.find((one) => one.id === id)?.gives ?? [];
      return withAnswers(state, { ...without(names), begin: undefined });
    },
  };
}
