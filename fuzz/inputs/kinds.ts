/** Every kind of input, and its readers: a command as a user types it, or the library. */
import { join } from 'node:path';
import { openCheckpoint } from '../../formats/checkpoint.ts';
import { readExpectations } from '../../formats/expectations.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { encodeTexts } from '../../src/pipeline/texts/texts.ts';
import { faultOf } from '../harness/verdict.ts';
import { faultOfCommand, runCommand } from './command.ts';

export interface Place {
  /** The input's folder. */
  readonly input: string;
  /** The sound inputs, one folder for each kind. */
  readonly seeds: string;
  /** The place of the output. Nothing is there. */
  readonly output: string;
}

/** The result of a use. */
export interface Outcome {
  readonly fault: string | undefined;
  /** Whether it may have left its output. */
  readonly succeeded: boolean;
}

export interface Use {
  readonly name: string;
  readonly weight: number;
  readonly run: (place: Place) => Promise<Outcome>;
  /** Files that may change for this use: ONNX Runtime only gets unchanged graphs. */
  readonly spares?: RegExp;
}

export interface Kind {
  readonly name: string;
  readonly weight: number;
  /** The files in the seeds. */
  readonly folder: string;
  readonly uses: readonly Use[];
}

function command(weight: number, args: (place: Place) => readonly string[], spares?: RegExp): Use {
  const run = async (place: Place): Promise<Outcome> => {
    const words = args(place);
    const result = await runCommand(words);
    return { fault: faultOfCommand(words, result), succeeded: result.code < 2 };
  };
  const name = args({ input: 'INPUT', seeds: 'SEEDS', output: 'OUTPUT' }).join(' ');
  return { name, weight, run, ...(spares && { spares }) };
}

function library(name: string, weight: number, use: (place: Place) => Promise<void>): Use {
  const run = async (place: Place): Promise<Outcome> => {
    try {
      await use(place);
      return { fault: undefined, succeeded: true };
    } catch (error) {
      const fault = faultOf(error);
      return { fault: fault && `${name}: ${fault}`, succeeded: false };
    }
  };
  return { name, weight, run };
}

const QUIET = ['--quiet', '--threads', '1'];

const convert = ({ input, output }: Place, dtype: string) => ['convert', input, '-o', output, '--dtype', dtype];

const CHECKPOINT_USES: readonly Use[] = [
  command(6, ({ input }) => ['inspect', input]),
  command(1, ({ input }) => ['inspect', input, '--json']),
  command(3, (place) => [...convert(place, 'fp32'), '--dry-run']),
  command(3, (place) => [...convert(place, 'int4'), '--dry-run']),
  command(1, (place) => [...convert(place, 'fp16,int8'), '--dry-run', '--json']),
  command(0.3, (place) => [...convert(place, 'bf16'), ...QUIET]),
  command(0.3, (place) => [...convert(place, 'int4'), ...QUIET]),
];

const STATISTICS = ({ input }: Place) => join(input, 'statistics.json');
const PLAN = ({ input }: Place) => join(input, 'plan.json');

const PLAN_USES: readonly Use[] = [
  command(3, (place) => ['inspect', PLAN(place), '--explain']),
  command(3, (place) => [
    ...['sparsify', join(place.seeds, 'folder'), '--plan', PLAN(place), '-o', place.output],
    ...QUIET,
  ]),
  command(1, (place) => [
    ...['sparsify', join(place.seeds, 'checkpoint'), '--plan', PLAN(place), '-o', place.output],
    ...['--dtype', 'int4', ...QUIET],
  ]),
];

const FOLDER_USES: readonly Use[] = [
  command(4, (place) => ['inspect', place.input]),
  command(1, (place) => ['inspect', place.input, '--json']),
  command(1, (place) => ['inspect', join(place.input, 'lacuna.json')]),
  command(2, (place) => ['inspect', join(place.input, 'onnx/model.onnx')]),
  command(0.5, (place) => ['run', place.input, 'Once upon', '--max-tokens', '2', ...QUIET], /\.onnx/),
  command(0.5, (place) => ['run', place.input, 'Once', '--chat', '--max-tokens', '2', ...QUIET], /\.onnx/),
];

const DENSE_FOLDER_USES: readonly Use[] = [
  ...FOLDER_USES,
  command(1, (place) => ['inspect', place.input, '--dtype', 'int4']),
  command(2, (place) => [
    ...['sparsify', place.input, '--plan', join(place.seeds, 'plan/plan.json'), '-o', place.output],
    ...QUIET,
  ]),
];

/** Prose, code, an endless word, and one that is not text. */
const TEXTS = [
  'Once upon a time, in 1893, it was 12.5 degrees.\n\n  "No," she said: 不.',
  `${'a'.repeat(3000)}!`,
  ` ${'word '.repeat(300)}`,
  '\u0000\ud800\u202e<|endoftext|><|im_start|>',
];

async function useTokenizer({ input }: Place): Promise<void> {
  const tokenizer = await loadTokenizer(await openCheckpoint(input));
  for (const text of TEXTS) {
    const ids = tokenizer.encode(text);
    tokenizer.decode(ids, { skipSpecialTokens: true });
  }
  tokenizer.decode([-1, 2 ** 31, 0.5, 1e9]);
}

async function useTemplate({ input }: Place): Promise<void> {
  const tokenizer = await loadTokenizer(await openCheckpoint(input));
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'What is {{ this }}?' },
  ];
  if (tokenizer.hasChatTemplate) tokenizer.encode(tokenizer.chat(messages, { addGenerationPrompt: true }));
}

async function useTexts({ input, seeds }: Place): Promise<void> {
  const tokenizer = await loadTokenizer(join(seeds, 'checkpoint'));
  for (const name of ['text.txt', 'rows.jsonl']) await encodeTexts([join(input, name)], tokenizer);
}

export const KINDS: readonly Kind[] = [
  { name: 'checkpoint', weight: 4, folder: 'checkpoint', uses: CHECKPOINT_USES },
  { name: 'gemma', weight: 2, folder: 'gemma', uses: CHECKPOINT_USES },
  { name: 'shards', weight: 2, folder: 'shards', uses: CHECKPOINT_USES },
  {
    name: 'adapter',
    weight: 2,
    folder: 'adapter',
    uses: [
      command(2, ({ input }) => ['inspect', input]),
      ...['fp32', 'int4'].flatMap((dtype, i) => [
        command(3 - 2 * i, ({ input, seeds, output }) => [
          ...['convert', join(seeds, 'checkpoint'), '--adapter', input, '-o', output],
          ...['--dtype', dtype, '--dry-run'],
        ]),
        command(0.3, ({ input, seeds, output }) => [
          ...['convert', join(seeds, 'checkpoint'), '--adapter', input, '-o', output],
          ...['--dtype', dtype, ...QUIET],
        ]),
      ]),
    ],
  },
  {
    name: 'gguf',
    weight: 4,
    folder: 'gguf',
    uses: [...CHECKPOINT_USES, library('encode and decode', 3, useTokenizer), library('chat template', 1, useTemplate)],
  },
  // Describes a whole model, but holds only the tensors that scale its positions.
  { name: 'gguf-positions', weight: 1, folder: 'gguf-positions', uses: CHECKPOINT_USES.slice(0, 2) },
  { name: 'gguf-biases', weight: 1, folder: 'gguf-biases', uses: CHECKPOINT_USES },
  {
    name: 'statistics',
    weight: 3,
    folder: 'statistics',
    uses: [
      command(3, (place) => ['inspect', STATISTICS(place)]),
      command(2, (place) => ['plan', STATISTICS(place), '-o', place.output, '--preset', 'top-k']),
      command(2, (place) => [
        ...['plan', STATISTICS(place), '-o', place.output, '--preset', 'ffn-skip'],
        ...['--cold-start', '0', '--cold-end', '2'],
      ]),
      command(1, (place) => [
        ...['convert', join(place.seeds, 'checkpoint'), '-o', place.output, '--dtype', 'int4'],
        ...['--importance', STATISTICS(place), '--dry-run'],
      ]),
    ],
  },
  {
    name: 'shard',
    weight: 1,
    folder: 'shard',
    uses: [
      command(1, (place) => [
        ...['calibrate', 'merge', STATISTICS(place), join(place.seeds, 'other-shard/statistics.json')],
        ...['-o', place.output],
      ]),
    ],
  },
  { name: 'plan', weight: 2, folder: 'plan', uses: PLAN_USES },
  { name: 'plan-skip', weight: 1, folder: 'plan-skip', uses: PLAN_USES },
  { name: 'folder', weight: 4, folder: 'folder', uses: DENSE_FOLDER_USES },
  { name: 'sparse-folder', weight: 2, folder: 'sparse', uses: FOLDER_USES },
  {
    name: 'tokenizer',
    weight: 3,
    folder: 'checkpoint',
    uses: [library('encode and decode', 3, useTokenizer), library('chat template', 2, useTemplate)],
  },
  { name: 'texts', weight: 1, folder: 'texts', uses: [library('read texts', 1, useTexts)] },
  {
    name: 'expectations',
    weight: 1,
    folder: 'expectations',
    uses: [
      library('read expectations', 1, async ({ input }) => {
        await readExpectations(join(input, 'lacuna-expectations.safetensors'));
      }),
    ],
  },
];
