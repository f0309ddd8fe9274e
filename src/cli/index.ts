/** The command line: parses arguments, calls the public door, prints, and turns errors into exit codes. */
import { Command, CommanderError } from 'commander';
import { type ErrorCode, LacunaError } from '../core/errors.ts';
import { LACUNA_VERSION } from '../core/manifest.ts';
import { shown } from '../core/shown.ts';
import { messageOf } from '../core/text.ts';
import { registerBench } from './bench.ts';
import { registerBuild } from './build.ts';
import { registerCalibrate } from './calibrate.ts';
import { type CommandContext, DEFAULT_WIDTH, printedJson, printerTo, type RegisterCommand } from './command.ts';
import { registerConvert } from './convert.ts';
import { registerDoctor } from './doctor.ts';
import { registerEval } from './eval.ts';
import { registerHost } from './host.ts';
import { registerInspect } from './inspect.ts';
import { EXIT, type Io, type OutputStream } from './io.ts';
import { registerOps } from './ops.ts';
import { registerPlan } from './plan.ts';
import { createProgress } from './progress.ts';
import { registerRefit } from './refit.ts';
import { registerReport } from './report.ts';
import { registerRun } from './run.ts';
import { registerSparsify } from './sparsify.ts';
import { wrapText } from './table.ts';
import { registerVerify } from './verify.ts';
import { registerWizard } from './wizard.ts';

/** In the order of `--help`: that of the pipeline. */
const COMMANDS: readonly RegisterCommand[] = [
  registerConvert,
  registerVerify,
  registerCalibrate,
  registerPlan,
  registerRefit,
  registerSparsify,
  registerEval,
  registerBench,
  registerRun,
  registerInspect,
  registerReport,
  registerBuild,
  registerWizard,
  registerOps,
  registerDoctor,
  registerHost,
];

/** Returns the exit code: 0 done, 1 a check failed, 2 wrong usage or input, 130 interrupted, 70 a defect of ours. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let exitCode: number = EXIT.done;
  const progress = await createProgress(io.stderr, undefined, io.redraws);
  const fail = (code: number = EXIT.checkFailed) => {
    exitCode = code;
  };
  const context: CommandContext = { io, progress, fail, print: printerTo(io) };
  try {
    await createProgram(context, argv).parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    progress.stop();
    const failure = failureOf(error, io.signal);
    const { code, message, hint } = failure;
    if (code !== 'none' && argv.includes('--json'))
      io.stdout.write(`${printedJson({ error: { code, message, hint } })}\n`);
    io.stderr.write(forTerminal(failure.text, io.stderr, argv));
    return failure.exitCode;
  }
}

/** Text fitted to a terminal. A file or a pipe gets it as it is, because their readers search for whole sentences. */
function forTerminal(text: string, { columns }: OutputStream, argv: readonly string[]): string {
  return columns ? wrapText(text, columns, argv) : text;
}

function createProgram(context: CommandContext, argv: readonly string[]): Command {
  const { io } = context;
  const program = new Command('lacuna')
    .description(
      'Turns LLaMA and Gemma checkpoints into sparse ONNX models that ONNX Runtime decodes faster, and measures the cost.',
    )
    .version(LACUNA_VERSION)
    .addHelpText('after', '\nTo begin: lacuna wizard asks for what matters and makes a model.')
    .showHelpAfterError('(add --help for the options)')
    // An option belongs to the command before it: in `calibrate merge -o`, it belongs to merge.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(forTerminal(text, io.stderr, argv)),
      getOutHelpWidth: () => io.stdout.columns || DEFAULT_WIDTH,
      getErrHelpWidth: () => io.stderr.columns || DEFAULT_WIDTH,
    });
  for (const register of COMMANDS) register(program, context);
  return program;
}

/** How a command ended without a result. */
interface Failure {
  /** "none" when the user only asked for help or the version. */
  readonly code: ErrorCode | 'internal' | 'none';
  readonly message: string;
  readonly hint?: string;
  /** For people. Empty if commander has already printed it. */
  readonly text: string;
  readonly exitCode: number;
}

function failureOf(error: unknown, signal: AbortSignal): Failure {
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, '');
    if (error.exitCode === 0) return { code: 'none', message, text: '', exitCode: EXIT.done };
    return { code: 'usage', message, text: '', exitCode: EXIT.usage };
  }
  // If the user stopped the job, the error that this caused is not reported.
  if (signal.aborted || (error instanceof LacunaError && error.code === 'interrupted'))
    return { code: 'interrupted', message: 'Stopped.', text: 'Stopped.\n', exitCode: EXIT.interrupted };
  if (error instanceof LacunaError) {
    const { code, message, hint } = error;
    const text = `error: ${message}\n${hint === undefined ? '' : `  ${hint}\n`}`;
    return { code, message, hint, text, exitCode: code === 'check-failed' ? EXIT.checkFailed : EXIT.usage };
  }
  if (isSystemError(error)) {
    const message = shown(error.message);
    return { code: 'io', message, text: `error: ${message}\n`, exitCode: EXIT.usage };
  }
  const message = shown(messageOf(error));
  const stack = error instanceof Error && error.stack !== undefined ? shown(error.stack) : message;
  return { code: 'internal', message, text: `This is a defect of Lacuna:\n${stack}\n`, exitCode: EXIT.internal };
}

/** What the operating system refused, with the path in its message. */
function isSystemError(error: unknown): error is Error {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}
