/** `lacuna run`. */
import { addAbortSignal, type Readable } from 'node:stream';
import { LacunaError } from '../core/errors.ts';
import { decodeUtf8 } from '../core/text.ts';
import { type RunOptions, type RunResult, type RunRowsResult, run, runRows } from '../index.ts';
import {
  attendedOption,
  cacheOption,
  engineOption,
  type Flags,
  jobOptions,
  ownOptions,
  type RegisterCommand,
  withCommonOptions,
} from './command.ts';
import type { Io } from './io.ts';
import { nonNegativeInteger, nonNegativeNumber, positiveInteger, positiveNumber, probability } from './parse.ts';

type Options = Flags<RunOptions, 'folder' | 'prompt' | 'onText'>;

export const registerRun: RegisterCommand = (program, context) => {
  const command = program
    .command('run')
    .description('generate text with a converted folder')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .argument('<prompt...>', 'text to continue; several are continued together; - is read from standard input')
    .option('--dtype <name>', 'precision to run, where the folder has several (default: its first)')
    .addOption(engineOption('decodes'))
    .addOption(cacheOption())
    .addOption(attendedOption())
    .option('--max-tokens <n>', 'tokens to generate at most (default 128)', positiveInteger)
    .option('--chat', "put the prompt into the model's chat template")
    .option('--ignore-eos', 'continue past the end-of-text token')
    .option(
      '--temperature <t>',
      'sample at this temperature; 0 takes the likeliest token (default: 1 with an option below, else 0)',
      nonNegativeNumber,
    )
    .option('--top-k <n>', 'sample among the n likeliest tokens', positiveInteger)
    .option('--top-p <share>', 'sample among the likeliest tokens that make up this share', probability)
    .option('--min-p <share>', "sample among tokens with this share of the likeliest one's probability", probability)
    .option('--repetition-penalty <x>', 'make earlier tokens less likely by this factor', positiveNumber)
    .option('--seed <n>', 'seed of the sampling (default 0)', nonNegativeInteger);
  withCommonOptions(command).action(async (folder: string, given: readonly string[], options: Options) => {
    const { io } = context;
    const job = jobOptions(options, context);
    const request = { ...ownOptions(options), nativeFolder: io.nativeFolder, folder, ...job };
    const prompts = await withStdin(given, io);
    if (prompts.length > 1) {
      const result = await runRows({ ...request, prompts });
      context.print(options, result, (rows) => rowsText(rows, prompts));
      job.progress.note(rowsFigures(result));
      return;
    }
    const onText = options.json ? undefined : (text: string) => void io.stdout.write(text);
    const result = await run({ ...request, prompt: prompts[0], onText });
    // The text has been streamed. Only its line break is missing.
    context.print(options, result, () => '');
    job.progress.note(figures(result));
  });
};

/** The prompts. Standard input replaces the prompt `-`. */
async function withStdin(prompts: readonly string[], io: Io): Promise<readonly string[]> {
  const piped = prompts.filter((prompt) => prompt === '-');
  if (piped.length === 0) return prompts;
  if (piped.length > 1) throw new LacunaError('usage', 'Standard input holds one prompt, and - is given twice');
  const text = await readText(io.stdin, io.signal);
  return prompts.map((prompt) => (prompt === '-' ? text : prompt));
}

function rowsText({ rows }: RunRowsResult, prompts: readonly string[]): string {
  return rows.map(({ text }, row) => `${prompts[row]} …\n${text.trim()}`).join('\n\n');
}

function rowsFigures({ rows, seconds, tokensPerSecond }: RunRowsResult): string {
  const ends = rows.map(({ tokens, stopped }) => `${tokens.length} ${STOPPED[stopped]}`).join('; ');
  return `${tokensPerSecond.toFixed(1)} tokens/s in ${seconds.toFixed(2)} s, prompts included; tokens: ${ends}`;
}

const STOPPED = {
  eos: 'ended by the model',
  length: 'stopped at --max-tokens',
  context: 'the context is full',
} as const;

function figures({ tokens, decodeTokensPerSecond, promptTokens, prefillSeconds, stopped }: RunResult): string {
  const prompt = `prompt of ${promptTokens.length} tokens in ${prefillSeconds.toFixed(2)} s`;
  return `${tokens.length} tokens, ${decodeTokensPerSecond.toFixed(1)} tokens/s, ${STOPPED[stopped]}; ${prompt}`;
}

/** More than the context of any model, so an endless stream is not read for ever. */
const MAX_BYTES = 16 << 20;

/** A whole stream as text, without the line break at its end. Throws `bad-file` if it is not text. */
async function readText(stdin: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of addAbortSignal(signal, stdin)) {
    const part = Buffer.from(chunk);
    bytes += part.length;
    if (bytes > MAX_BYTES)
      throw new LacunaError('bad-file', `Standard input is longer than ${MAX_BYTES >> 20} MiB`, {
        hint: 'Pipe a shorter prompt.',
      });
    chunks.push(part);
  }
  const refuse = (cause: unknown) => new LacunaError('bad-file', 'Standard input is not UTF-8', { cause });
  const text = decodeUtf8(Buffer.concat(chunks), refuse).replace(/\r?\n$/, '');
  if (text !== '') return text;
  throw new LacunaError('usage', 'Standard input is empty, but the prompt must come from it', {
    hint: 'Pipe a text: echo "In the beginning" | lacuna run DIR -',
  });
}
