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

/** Runs `lacuna <line>`, where INPUT, SEEDS and OUTPUT are the paths of a place. */
function command(weight: number, line: string, spares?: RegExp): Use {
  const run = async ({ input: INPUT, seeds: SEEDS, output: OUTPUT }: Place): Promise<Outcome> => {
    const paths: Readonly<Record<string, string>> = { INPUT, SEEDS, OUTPUT };
    const words = (line.match(/"[^"]+"|\S+/g) ?? []).map((word) =>
      word.replace(/^[A-Z]+/, (name) => paths[name]).replaceAll('"', ''),
    );
    const result = await runCommand(words);
    return { fault: faultOfCommand(words, result), succeeded: result.code < 2 };
  };
  return { name: line, weight, run, ...(spares && { spares }) };
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

const QUIET = '--quiet --threads 1';

const CHECKPOINT_USES: readonly Use[] = [
  command(6, 'inspect INPUT'),
  command(1, 'inspect INPUT --json'),
  command(3, 'convert INPUT -o OUTPUT --dtype fp32 --dry-run'),
  command(3, 'convert INPUT -o OUTPUT --dtype int4 --dry-run'),
  command(1, 'convert INPUT -o OUTPUT --dtype fp16,int8 --dry-run --json'),
  command(0.3, `convert INPUT -o OUTPUT --dtype bf16 ${QUIET}`),
  command(0.3, `convert INPUT -o OUTPUT --dtype int4 ${QUIET}`),
];

const PLAN_USES: readonly Use[] = [
  command(3, 'inspect INPUT/plan.json --explain'),
  command(3, `sparsify SEEDS/folder --plan INPUT/plan.json -o OUTPUT ${QUIET}`),
  command(1, `sparsify SEEDS/checkpoint --plan INPUT/plan.json -o OUTPUT --dtype int4 ${QUIET}`),
];

const FOLDER_USES: readonly Use[] = [
  command(4, 'inspect INPUT'),
  command(1, 'inspect INPUT --json'),
  command(1, 'inspect INPUT/lacuna.json'),
  command(2, 'inspect INPUT/onnx/model.onnx'),
  command(0.5, `run INPUT "Once upon" --max-tokens 2 ${QUIET}`, /\.onnx/),
  command(0.5, `run INPUT Once --chat --max-tokens 2 ${QUIET}`, /\.onnx/),
];

const DENSE_FOLDER_USES: readonly Use[] = [
  ...FOLDER_USES,
  command(1, 'inspect INPUT --dtype int4'),
  command(2, `sparsify INPUT --plan SEEDS/plan/plan.json -o OUTPUT ${QUIET}`),
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
      command(2, 'inspect INPUT'),
      command(3, 'convert SEEDS/checkpoint --adapter INPUT -o OUTPUT --dtype fp32 --dry-run'),
      command(0.3, `convert SEEDS/checkpoint --adapter INPUT -o OUTPUT --dtype fp32 ${QUIET}`),
      command(1, 'convert SEEDS/checkpoint --adapter INPUT -o OUTPUT --dtype int4 --dry-run'),
      command(0.3, `convert SEEDS/checkpoint --adapter INPUT -o OUTPUT --dtype int4 ${QUIET}`),
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
      command(3, 'inspect INPUT/statistics.json'),
      command(2, 'report INPUT/statistics.json -o OUTPUT.html'),
      command(2, 'plan INPUT/statistics.json -o OUTPUT --preset top-k'),
      command(2, 'plan INPUT/statistics.json -o OUTPUT --preset ffn-skip --cold-start 0 --cold-end 2'),
      command(1, 'convert SEEDS/checkpoint -o OUTPUT --dtype int4 --importance INPUT/statistics.json --dry-run'),
    ],
  },
  {
    name: 'shard',
    weight: 1,
    folder: 'shard',
    uses: [command(1, 'calibrate merge INPUT/statistics.json SEEDS/other-shard/statistics.json -o OUTPUT')],
  },
  { name: 'plan', weight: 2, folder: 'plan', uses: PLAN_USES },
  { name: 'plan-skip', weight: 1, folder: 'plan-skip', uses: PLAN_USES },
  {
    name: 'plan-replace',
    weight: 1,
    folder: 'plan-replace',
    uses: [
      ...PLAN_USES,
      command(
        2,
        `refit SEEDS/checkpoint --plan INPUT/plan.json -o OUTPUT --data SEEDS/text.txt --tokens 2048 ${QUIET}`,
      ),
    ],
  },
  {
    name: 'plan-auto',
    weight: 1,
    folder: 'plan-auto',
    uses: [
      command(3, 'inspect INPUT/plan.json --explain'),
      command(1, `sparsify SEEDS/checkpoint --plan INPUT/plan.json -o OUTPUT ${QUIET}`),
    ],
  },
  { name: 'folder', weight: 4, folder: 'folder', uses: DENSE_FOLDER_USES },
  { name: 'report', weight: 2, folder: 'report', uses: [command(1, 'report INPUT -o OUTPUT.html')] },
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
