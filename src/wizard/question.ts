/** What a question is: plain data to draw, and how its answer changes the state. */
import type { Answers, FactName, State } from './state.ts';

export interface Choice {
  readonly value: string;
  /** One, or as many as the heading has. */
  readonly cells: readonly string[];
  /** How the answer is written once it is given. */
  readonly short: string;
  /** Why it cannot be chosen. */
  readonly problem?: string;
}

/** As it is drawn. `said` goes before it. */
export type Question = { readonly message: string; readonly said?: readonly string[] } & (
  | {
      readonly kind: 'text';
      readonly default?: string;
      /** What is wrong with an answer. */
      readonly problem: (answer: string) => string | undefined;
    }
  | {
      readonly kind: 'choice';
      readonly choices: readonly Choice[];
      /** A value. */
      readonly default?: string;
      /** Over the cells of the choices, where they are rows of a table. */
      readonly heading?: readonly string[];
    }
);

/** One file of `questions`. */
export interface Asked {
  readonly id: string;
  /** Of whoever looks for something to change. */
  readonly name: string;
  /** What has to be known before it is asked. */
  readonly needs: readonly FactName[];
  /** The answers that it gives: without them it is asked anew. */
  readonly gives: readonly (keyof Answers)[];
  readonly isOpen: (state: State) => boolean;
  readonly ask: (state: State) => Question;
  /** The state after a valid answer. */
  readonly answer: (state: State, given: string) => State;
}

/** A choice that is one line of prose. */
export function choice(value: string, text: string, short = text): Choice {
  return { value, cells: [text], short };
}
