/** A command at a terminal of 80 columns, for tests: what it shows is waited for, and answers are typed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { required } from './real/real-model.ts';
import { root } from './temporary.ts';

export const COLUMNS = 80;

/** Python makes the terminal; only its standard library is used. */
export const hasTerminal = required || spawnSync('python3', ['-c', 'import pty']).status === 0;

export const DOWN = '\x1b[B';
export const ENTER = '\r';
export const CTRL_C = '\x03';
export const CTRL_U = '\x15';

export interface Options {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Time for what is waited for to appear. */
  readonly patienceMs?: number;
}

export class Terminal {
  /** All that was shown, escapes included. */
  raw = '';
  readonly #child: ChildProcess;
  readonly #ended: Promise<number>;
  readonly #patienceMs: number;
  /** Where the next thing that is waited for may begin. */
  #seen = 0;

  constructor(words: readonly string[], { cwd, env = {}, patienceMs = 120_000 }: Options) {
    const { CI: _, ...rest } = process.env;
    const plain = { TERM: 'xterm', LC_ALL: 'C.UTF-8', ...env };
    this.#patienceMs = patienceMs;
    this.#child = spawn('python3', [join(root, 'test/terminal.py'), ...words], {
      cwd,
      env: { ...rest, ...plain },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text) => (this.raw += text));
    this.#ended = once(this.#child, 'close').then(([code]) => code);
  }

  /** Waits until `text` is shown, after what was waited for before, and types an answer. */
  async answer(text: RegExp, typed: string): Promise<void> {
    await this.shows(text);
    this.type(typed);
  }

  async shows(text: RegExp): Promise<void> {
    const until = Date.now() + this.#patienceMs;
    for (;;) {
      const raw = this.raw.slice(this.#seen);
      const at = text.exec(stripVTControlCharacters(raw).replaceAll('\r\n', '\n'));
      if (at !== null) {
        this.#seen = this.raw.length;
        // Keys that are pressed before a question is drawn whole are thrown away.
        return new Promise((resolve) => setTimeout(resolve, 50));
      }
      if (Date.now() > until || this.#child.exitCode !== null)
        throw new Error(`${text} is not shown, but:\n${stripVTControlCharacters(this.raw.slice(-3000))}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Closes the terminal's window. */
  hangUp(): void {
    this.#child.stdin?.end();
  }

  /** The exit code. */
  end(): Promise<number> {
    return this.#ended;
  }

  /** The lines of everything that was drawn, also of what was drawn over. */
  lines(): readonly string[] {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what moves the cursor begins with one.
    const moves = /\x1b\[[\d;?]*[A-HJKf]|\r/g;
    return stripVTControlCharacters(this.raw.replaceAll('\r\n', '\n').replace(moves, '\n')).split('\n');
  }

  /** Questions that were answered, and how: what a session means. */
  answers(mark = '✔'): readonly (readonly [question: string, answer: string])[] {
    const line = new RegExp(`^${mark} (.*?[?:])(?: \\([^)]*\\))? (.*)$`);
    return this.lines().flatMap((text) => {
      const [, question, answer] = line.exec(text.trimEnd()) ?? [];
      // Progress ends with the same mark.
      return question === undefined || / in \d|\(\d/.test(answer) ? [] : [[question, answer] as const];
    });
  }
}

const bin = join(root, 'bin/lacuna.js');

/** The words that start the wizard. */
export function wizardWords(): readonly string[] {
  return [process.execPath, bin, 'wizard'];
}

/** The command that a session ended with, as a shell reads it. */
export function commandIn(terminal: Terminal): string {
  const lines = terminal.lines().filter((line) => line !== '');
  return /does the same:\n((?:.*\\\n)*.*)/.exec(lines.join('\n'))?.[1] ?? '';
}

/** Runs that command in a shell. Returns its exit code. */
export function runCommandOf(terminal: Terminal, options: Options): Promise<number> {
  const lacuna = `lacuna() { '${process.execPath}' '${bin}' "$@"; }`;
  return new Terminal(['sh', '-c', `${lacuna}\n${commandIn(terminal)}`], options).end();
}
