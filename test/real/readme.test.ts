/** The first commands of README.md, as they stand there, print what stands there. */
import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../temporary.ts';
import { hasSmollm2, required, root, smollm2 } from './real-model.ts';

const cwd = temporaryFolder();

it.runIf(required && hasSmollm2)("README's first commands print what it says", { timeout: 300_000 }, () => {
  const [, session] = /^((?: {4}.*\n)+)/m.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
  const lines = (session ?? '').split('\n').map((line) => line.slice(4));
  const commands = lines.filter((line) => line.startsWith('$ ')).map((line) => line.slice(2));
  expect(commands).toHaveLength(2);
  symlinkSync(smollm2, join(cwd, 'SmolLM2-135M'));
  const lacuna = `lacuna() { '${process.execPath}' '${join(root, 'bin/lacuna.js')}' "$@"; }`;
  const [made, written] = commands.map((command) => {
    const script = `${lacuna}\n${command}`;
    return execFileSync('sh', ['-e', '-c', script], { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  });
  // The README has dots in place of the files.
  expect(made).toMatch(/onnx\/model\.onnx_data.*Written to \.\/int4/s);
  expect(written).toBe(lines.slice(lines.indexOf(`$ ${commands[1]}`) + 1).join('\n'));
});
