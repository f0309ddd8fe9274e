/** Draws questions at a terminal, by inquirer. Injected streams, keyboard alone; colours say nothing that text does not. */
import type { Readable } from 'node:stream';
import { isatty } from 'node:tty';
import { input, select } from '@inquirer/prompts';
import { LacunaError } from '../core/errors.ts';
import type { Choice, Question } from './question.ts';

/** As `tty.ReadStream`. */
export type TerminalInput = Readable & { readonly fd?: number; setRawMode?: (mode: boolean) => unknown };

export interface Terminal {
  readonly input: TerminalInput;
  readonly output: { write(text: string): unknown; readonly columns?: number };
  readonly signal: AbortSignal;
  readonly hasUnicode: boolean;
  /** Lines up cells under a heading: the heading, a rule, a line for each row. */
  readonly table: (heading: readonly string[], rows: readonly (readonly string[])[]) => string;
  /** Prints lines that stay. */
  readonly say: (text: string) => void;
  /** Breaks lines that are too long. */
  readonly wrap: (text: string) => string;
}

/** Rows of a long list that are seen at once. */
const PAGE = 12;

/** The answer to a question. Throws `interrupted` when the user leaves, or the terminal goes away. */
export async function ask(question: Question, terminal: Terminal): Promise<string> {
  for (const text of question.said ?? []) terminal.say(text);
  const { input, output, signal } = terminal;
  const gone = new AbortController();
  const leave = () => gone.abort();
  const events = ['end', 'close', 'error'] as const;
  for (const event of events) input.on(event, leave);
  const mend = tolerateHangUp(input);
  const signals = AbortSignal.any([signal, gone.signal]);
  try {
    return await draw(question, terminal, { input, output: output as NodeJS.WritableStream, signal: signals });
  } catch (error) {
    if (error instanceof Error && /^(?:ExitPrompt|AbortPrompt)Error$/.test(error.name))
      throw new LacunaError('interrupted', 'Stopped.', { cause: error });
    throw error;
  } finally {
    for (const event of events) input.off(event, leave);
    mend();
  }
}

/** Leaving a question gives the terminal its mode back. Where it was closed there is none, and readline would throw for that. */
function tolerateHangUp(input: TerminalInput): () => void {
  const { setRawMode, fd } = input;
  if (setRawMode === undefined || fd === undefined) return () => {};
  input.setRawMode = (mode) => (isatty(fd) ? setRawMode.call(input, mode) : input);
  return () => {
    input.setRawMode = setRawMode;
  };
}

type Context = NonNullable<Parameters<typeof input>[1]>;

function draw(question: Question, { hasUnicode, table, wrap }: Terminal, context: Context): Promise<string> {
  const { message } = question;
  const theme = hasUnicode ? {} : PLAIN;
  if (question.kind === 'text') {
    const validate = (given: string) => {
      const problem = question.problem(given);
      return problem === undefined || wrap(problem);
    };
    return input({ message, default: question.default, validate, theme }, context);
  }
  const { heading, choices } = question;
  const names = heading === undefined ? choices.map(({ cells: [name] }) => name) : rowsOf(heading, choices, table);
  const [head, ...rest] = heading === undefined ? ['', ...names] : names;
  return select(
    {
      message: head === '' ? message : `${message}\n  ${head}`,
      choices: choices.map(({ value, short, problem }, index) => {
        return { value, short, name: rest[index], ...(problem !== undefined && { disabled: `(${problem})` }) };
      }),
      default: question.default,
      pageSize: PAGE,
      loop: false,
      theme: { ...theme, style: { keysHelpTip: () => HELP, message: messageLine } },
    },
    context,
  );
}

/** The heading of a table goes when the table does. */
function messageLine(message: string, status: string): string {
  return status === 'done' ? message.split('\n')[0] : message;
}

const HELP = 'up and down to move, Enter to choose';

/** The heading, then a line for each choice. Choices of one cell are no rows. */
function rowsOf(heading: readonly string[], choices: readonly Choice[], table: Terminal['table']): readonly string[] {
  const rows = choices.filter(({ cells }) => cells.length === heading.length).map(({ cells }) => cells);
  const [head, , ...lines] = table(heading, rows).split('\n');
  let row = 0;
  return [head, ...choices.map(({ cells }) => (cells.length === heading.length ? lines[row++] : cells[0]))];
}

/** For terminals that know only ASCII. */
const PLAIN = {
  prefix: { idle: '?', done: '*' },
  icon: { cursor: '>' },
  spinner: { interval: 80, frames: ['-', '\\', '|', '/'] },
};
