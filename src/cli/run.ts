/** `lacuna run`. */
import { run } from '../index.ts';
import {
  type CommonOptions,
  jobOptions,
  positiveInteger,
  positiveNumber,
  type RegisterCommand,
  share,
  withCommonOptions,
} from './command.ts';

interface Options extends CommonOptions {
  readonly maxTokens: number;
  readonly chat?: boolean;
  readonly ignoreEos?: boolean;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
}

export const registerRun: RegisterCommand = (program, { io }) => {
  const command = program
    .command('run')
    .description('generate text with a converted folder')
    .argument('<dir>', 'folder made by convert, sparsify or build')
    .argument('<prompt>', 'text to continue')
    .option('--max-tokens <n>', 'tokens to generate at most', positiveInteger, 128)
    .option('--chat', "put the prompt into the model's chat template")
    .option('--ignore-eos', 'go on past the end-of-text token')
    .option('--temperature <t>', 'sample at this temperature (default: the likeliest token)', positiveNumber)
    .option('--top-k <n>', 'sample among the n likeliest tokens', positiveInteger)
    .option('--top-p <share>', 'sample among the likeliest tokens that make up this share', share)
    .option('--seed <n>', 'seed of the sampling', positiveInteger);
  withCommonOptions(command).action(async (folder: string, prompt: string, options: Options) => {
    const job = jobOptions(options, io);
    const onText = options.json ? undefined : (text: string) => void io.stdout.write(text);
    const result = await run({ ...options, folder, prompt, ...job, onText });
    if (options.json) {
      io.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
      return;
    }
    io.stdout.write('\n');
    job.progress.note(
      `${result.tokens.length} tokens, ${result.decodeTokensPerSecond.toFixed(1)} tokens/s; prompt of ${result.promptTokens.length} in ${result.prefillSeconds.toFixed(2)} s`,
    );
  });
};
