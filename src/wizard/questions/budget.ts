import { LIMITS, parseBudget } from '../../core/budget.ts';
import { LacunaError } from '../../core/errors.ts';
import type { Asked } from '../question.ts';
import { isSparse, withAnswers } from '../state.ts';

/** A sparse model may lose whatever it loses; a search needs an end. */
const NONE = 'none';

export const budget: Asked = {
  id: 'budget',
  name: 'the budget',
  needs: ['texts'],
  gives: ['budget'],
  isOpen: ({ answers }) => answers.budget === undefined,
  ask: ({ answers }) =>
    isSparse(answers)
      ? {
          kind: 'text',
          message: `Perplexity to allow over the checkpoint's floats (or ${NONE}):`,
          default: 'ppl<=1.05',
          problem: (given) => (given.trim() === NONE ? undefined : presetProblem(given)),
        }
      : {
          kind: 'text',
          message: 'Budget (ppl<=, kl<=, speed>=, bytes<=; commas between them):',
          default: 'ppl<=1.02',
          problem: budgetProblem,
        },
  answer: (state, given) => withAnswers(state, { budget: given.trim() === NONE ? '' : given.trim() }),
};

function budgetProblem(given: string): string | undefined {
  try {
    parseBudget(given);
    return undefined;
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    return `${error.message}. ${EXAMPLES}`;
  }
}

const EXAMPLES = `As ${LIMITS.map(({ name, sign, example }) => `${name}${sign}${example.split(' ')[0]}`).join(', ')}.`;

function presetProblem(given: string): string | undefined {
  const problem = budgetProblem(given);
  if (problem !== undefined) return problem;
  const other = Object.keys(parseBudget(given)).find((name) => name !== 'ppl');
  return other === undefined ? undefined : `Of a sparse model, ppl alone is limited, not ${other}. As ppl<=1.05.`;
}
