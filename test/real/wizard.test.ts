/** The wizard on SmolLM2-135M: from the first question to a model within a budget, and the same bytes by its command. */
import { renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { differenceOf, hashTree } from '../../fuzz/harness/tree.ts';
import { temporaryFolder } from '../temporary.ts';
import { COLUMNS, CTRL_U, commandIn, ENTER, hasTerminal, runCommandOf, Terminal, wizardWords } from '../terminal.ts';
import { hasSmollm2, required, smollm2, THREADS } from './real-model.ts';

/**
 * As few tokens as rounding takes. Their bounds are wide: int4 keeps to half as much again, and no mix is measured. The
 * command goes on from what the wizard measured; test/wizard.test.ts has one that measures anew.
 */
const ARGS = ['--tokens', '1100', '--threads', String(THREADS), '--host', 'stock', '--work', 'work'];
const PATIENCE_MS = 600_000;

const cwd = temporaryFolder();

it.runIf(required && hasSmollm2 && hasTerminal)(
  'makes a model of SmolLM2-135M within a budget, and its command makes the same bytes',
  { timeout: 3_600_000 },
  async () => {
    symlinkSync(smollm2, join(cwd, 'SmolLM2-135M'));
    const terminal = new Terminal([...wizardWords(), ...ARGS], { cwd, patienceMs: PATIENCE_MS });
    await terminal.answer(/Checkpoint /, `./SmolLM2-135M${ENTER}`);
    await terminal.answer(/30 layers, hidden 576, FFN 1536.*What to make/s, ENTER);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Budget /, `${CTRL_U}ppl<=50%${ENTER}`);
    await terminal.answer(/Folder to make/, ENTER);
    await terminal.answer(/for each of 60 blocks among int8, int4.*Begin/s, ENTER);
    expect(await terminal.end()).toBe(0);
    expect(terminal.answers().map(([, answer]) => answer)).toEqual([
      ...['./SmolLM2-135M', 'the fastest dense model within a budget', 'those of the package'],
      ...['ppl<=50%', './SmolLM2-135M-fast', 'yes'],
    ]);
    expect(terminal.lines().filter((line) => line.length > COLUMNS)).toEqual([]);
    expect(terminal.lines().join('\n')).toMatch(/^Budget: {2}ppl<=50%: held on test\.txt/m);
    expect(commandIn(terminal)).toMatch(/^lacuna build \.\/SmolLM2-135M -o \.\/SmolLM2-135M-fast /);
    const output = join(cwd, 'SmolLM2-135M-fast');
    const wanted = hashTree(output);
    renameSync(output, join(cwd, 'by-wizard'));
    expect(await runCommandOf(terminal, { cwd })).toBe(0);
    expect(differenceOf(wanted, hashTree(output))).toBeUndefined();
  },
);
