/** The wizard as a function of its state: what to find out, what to ask, or what to do. It draws nothing and reads nothing. */
import type { Asked, Question } from './question.ts';
import { QUESTIONS } from './questions/list.ts';
import { type FactName, factOf, problemText, type State } from './state.ts';

export type Step =
  | { readonly kind: 'find'; readonly fact: FactName }
  | { readonly kind: 'ask'; readonly asked: Asked; readonly question: Question }
  /** All is answered. */
  | { readonly kind: 'build' }
  /** The user wants the command alone. */
  | { readonly kind: 'stop' };

/**
 * The next step: the first question that is open, after what it needs to know. A question whose facts are not known is passed only
 * once they are, because what is found may open it.
 */
export function nextStep(state: State): Step {
  for (const asked of QUESTIONS) {
    const fact = asked.needs.find((name) => isWanted(name, state) && factOf(state, name) === undefined);
    if (fact !== undefined) return { kind: 'find', fact };
    if (asked.isOpen(state)) return { kind: 'ask', asked, question: withRefusal(asked, state) };
  }
  return { kind: state.answers.begin === 'no' ? 'stop' : 'build' };
}

/** Nothing is found out for a user who is about to change something, or leaves. */
function isWanted(name: FactName, { answers, failure }: State): boolean {
  if (failure !== undefined) return false;
  switch (name) {
    case 'machine':
    case 'source':
    case 'texts':
      return true;
    case 'expected':
      return answers.goal !== 'auto' && answers.setting === undefined;
    case 'ready':
      return answers.begin === undefined;
  }
}

/** A question that is asked again begins with the reason. */
function withRefusal(asked: Asked, state: State): Question {
  const { refusal, failure } = state;
  const said = [
    ...(refusal?.question === asked.id ? [refusal.message] : []),
    ...(failure === undefined ? [] : [problemText(failure)]),
  ];
  return { ...asked.ask(state), said };
}
