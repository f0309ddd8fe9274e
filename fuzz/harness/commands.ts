/** Commands that write, on the small model of fixtures/, each into a folder that holds nothing else. */
import { join } from 'node:path';
import { repository } from './paths.ts';

export interface WritingCommand {
  readonly name: string;
  /** Makes the files that must be in the folder first. */
  readonly prepare?: (folder: string) => readonly string[];
  readonly args: (folder: string) => readonly string[];
}

const MODEL = repository('fixtures/tiny-llama');
const QUIET = ['--threads', '1', '--quiet'];

const convert = (folder: string, ...options: readonly string[]) => [
  ...['convert', MODEL, '-o', join(folder, 'out'), ...options, ...QUIET],
];

export const WRITING: readonly WritingCommand[] = [
  { name: 'convert', args: (folder) => convert(folder) },
  {
    name: 'convert --force',
    prepare: (folder) => convert(folder, '--dtype', 'fp16'),
    args: (folder) => convert(folder, '--force'),
  },
  {
    name: 'convert --data',
    args: (folder) => convert(folder, '--dtype', 'int4', '--data', repository('texts/fit.txt'), '--tokens', '1024'),
  },
  {
    name: 'calibrate',
    args: (folder) => ['calibrate', MODEL, '-o', join(folder, 'statistics.json'), '--tokens', '1024', ...QUIET],
  },
  {
    name: 'build',
    args: (folder) => [
      ...['build', MODEL, '-o', join(folder, 'out'), '--preset', 'top-k', '--keep', '0.4', '--tokens', '1500'],
      // The folder is wanted here, however slow the model is.
      ...['--host', 'native', '--allow-slower', ...QUIET],
    ],
  },
];
