/** The command line: parses arguments, calls the public door, prints, and turns errors into exit codes. */
import { Command, CommanderError } from 'commander';
import { LacunaError } from '../core/errors.ts';
import { LACUNA_VERSION } from '../core/manifest.ts';
import { registerBench } from './bench.ts';
import { registerBuild } from './build.ts';
import { registerCalibrate } from './calibrate.ts';
import { type CommandContext, EXIT, type RegisterCommand } from './command.ts';
import { registerConvert } from './convert.ts';
import { registerEval } from './eval.ts';
import { registerInspect } from './inspect.ts';
import type { Io } from './io.ts';
import { registerPlan } from './plan.ts';
import { registerRun } from './run.ts';
import { registerSparsify } from './sparsify.ts';

/** In the order in which `--help` shows them: the pipeline's. */
const COMMANDS: readonly RegisterCommand[] = [
  registerConvert,
  registerCalibrate,
  registerPlan,
  registerSparsify,
  registerEval,
  registerBench,
  registerRun,
  registerInspect,
  registerBuild,
];

/**
 * Runs one command line.
 *
 * @returns the exit code: 0 done, 1 a check failed, 2 wrong usage or input, 130 interrupted.
 */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let exitCode: number = EXIT.done;
  const context: CommandContext = { io, fail: () => (exitCode = EXIT.checkFailed) };
  try {
    await createProgram(context).parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    return report(error, io, argv.includes('--json'));
  }
}

function createProgram(context: CommandContext): Command {
  const { io } = context;
  const program = new Command('lacuna')
    .description(
      'Turns LLaMA checkpoints into sparse ONNX models that ONNX Runtime decodes faster, and proves what that cost.',
    )
    .version(LACUNA_VERSION)
    .showHelpAfterError('(add --help for the options)')
    // An option belongs to the command before it: `calibrate merge -o` is merge's.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) });
  for (const register of COMMANDS) register(program, context);
  return program;
}

function report(error: unknown, io: Io, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (io.signal.aborted || (error instanceof LacunaError && error.code === 'interrupted')) {
    io.stderr.write('Stopped.\n');
    return EXIT.interrupted;
  }
  if (!(error instanceof LacunaError)) throw error;
  if (json)
    io.stdout.write(
      `${JSON.stringify({ error: { code: error.code, message: error.message, hint: error.hint } }, null, 2)}\n`,
    );
  io.stderr.write(`error: ${error.message}\n${error.hint === undefined ? '' : `  ${error.hint}\n`}`);
  return error.code === 'check-failed' ? EXIT.checkFailed : EXIT.usage;
}
