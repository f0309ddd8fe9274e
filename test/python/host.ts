/** Python scripts in a process that stays, one for each Python: importing ONNX Runtime or PyTorch takes longer than most scripts. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';

interface Answer {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Of a process: what it wrote last, where it ends by itself. */
const MOST_SAID = 4096;

class Host {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: Interface;
  #said = '';
  #last: Promise<unknown> = Promise.resolve();
  isOver = false;

  constructor(python: string) {
    this.#child = spawn(python, [join(import.meta.dirname, 'host.py')]);
    this.#answers = createInterface(this.#child.stdout);
    this.#child.stderr.on('data', (text) => {
      this.#said = `${this.#said}${text}`.slice(-MOST_SAID);
    });
    // A request that it cannot read any more ends by the process's end.
    this.#child.stdin.on('error', () => {});
    // It ends when nobody can ask it any more, and holds nobody up.
    this.#child.unref();
    for (const pipe of [this.#child.stdin, this.#child.stdout, this.#child.stderr])
      (pipe as unknown as { unref(): void }).unref();
  }

  /** The answer to a request, after those to all earlier ones. */
  ask(request: unknown): Promise<Answer> {
    const answer = this.#last.then(() => this.#answer(request));
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #answer(request: unknown): Promise<Answer> {
    const waiting = new AbortController();
    const { signal } = waiting;
    try {
      const ended = once(this.#child, 'close', { signal }).then(([code, killedBy]): Answer => {
        this.isOver = true;
        return { status: code ?? 1, stdout: '', stderr: `${this.#said}\nPython ended: ${killedBy ?? code}` };
      });
      const answered = once(this.#answers, 'line', { signal }).then(([line]): Answer => JSON.parse(line));
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
      return await Promise.race([answered, ended]);
    } finally {
      waiting.abort();
    }
  }

  end(): void {
    this.#child.stdin.end();
  }
}

const hosts = new Map<string, Host>();

function hostOf(python: string): Host {
  const known = hosts.get(python);
  if (known !== undefined && !known.isOver) return known;
  const host = new Host(python);
  hosts.set(python, host);
  return host;
}

interface Run {
  readonly input?: string;
  /** In a process that has loaded nothing before. */
  readonly isAlone?: boolean;
}

/** What a script prints; an error with all that it said where it fails. */
export async function runScript(
  python: string,
  script: string,
  args: readonly string[],
  { input = '', isAlone = false }: Run = {},
): Promise<string> {
  const host = isAlone ? new Host(python) : hostOf(python);
  const { status, stdout, stderr } = await host.ask({ script, args, input });
  if (isAlone) host.end();
  if (status !== 0) throw new Error(`${script} failed:\n${stdout}\n${stderr}`);
  return stdout;
}
