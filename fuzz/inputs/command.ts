/** Runs a command line of Lacuna in this process. */
import { Readable } from 'node:stream';
import { main } from '../../src/cli/index.ts';
import type { HubOptions } from '../../src/core/hub.ts';
import { faultOfText } from '../harness/verdict.ts';

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** An exit code that says that Lacuna is at fault. */
const DEFECT = 70;

/** The most output of one command on one input, hints and usage included. */
const MAX_STDERR = 4096;
const MAX_STDOUT = 1 << 20;

/** Runs a command in stock ONNX Runtime. Models come from `hub` if it is given. */
export async function runCommand(
  args: readonly string[],
  hub: { readonly hub?: HubOptions } = {},
): Promise<CommandResult> {
  let stdout = '';
  let stderr = '';
  const code = await main(args, {
    stdin: Readable.from([]),
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
    nativeFolder: '/nowhere',
    ...hub,
  });
  return { code, stdout, stderr };
}

/** Runs a command that must succeed. */
export async function lacuna(args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand(args);
  if (code !== 0) throw new Error(`lacuna ${args.join(' ')} ended with ${code}: ${stderr}`);
}

/** Why a command ended in a forbidden way; undefined if it ended as it should. */
export function faultOfCommand(args: readonly string[], { code, stdout, stderr }: CommandResult): string | undefined {
  const fault =
    code === DEFECT
      ? `ended with 70: ${stderr.slice(0, 2000)}`
      : // A model's output is its own affair.
        (faultOfText(stderr, MAX_STDERR) ?? (args[0] === 'run' ? undefined : faultOfText(stdout, MAX_STDOUT)));
  return fault && `lacuna ${args.join(' ')}: ${fault}`;
}
